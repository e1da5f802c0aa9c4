//! How the members of the statistics and of the admin API are declared: one line of a table for each,
//! from which come the struct, the reference in `docs/observability.md` and the schema of the API.

/// Declares an object of the statistics or of the admin API. A line reads
///
/// ```text
/// name: Type as "key" of Inner, "What it means.";
/// ```
///
/// `as` is there where the value holds further objects: under which key, and of
/// which type. A member that is an [`Option`] may be `null` or left out.
macro_rules! members {
    (
        $(#[$doc:meta])*
        $vis:vis struct $object:ident;
        $(
            $(#[$attribute:meta])*
            $name:ident: $type:ty $(as $key:literal of $inner:ident)?, $meaning:literal;
        )*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, ::serde::Serialize)]
        $vis struct $object {
            $(#[doc = $meaning] $(#[$attribute])* pub(crate) $name: $type,)*
        }

        impl $object {
            /// Every member below `prefix`: key, meaning.
            #[cfg(test)]
            pub(crate) fn reference(prefix: &str) -> Vec<[String; 2]> {
                let mut rows = Vec::new();
                $(
                    let key = stringify!($name);
                    rows.push([format!("`{prefix}{key}`"), $meaning.to_owned()]);
                    $(rows.extend($inner::reference(concat!($key, ".")));)?
                )*
                rows
            }
        }

        #[cfg(test)]
        impl $crate::telemetry::Schema for $object {
            fn schema() -> ::serde_json::Value {
                $crate::telemetry::schema_of(&[$((
                    stringify!($name),
                    $meaning,
                    <$type as $crate::telemetry::Schema>::schema(),
                    <$type as $crate::telemetry::Schema>::IS_OPTIONAL,
                ),)*])
            }
        }
    };
}

pub(crate) use members;
