//! How the members of the statistics are declared: one line of a table for each,
//! from which come the struct and the reference in `docs/observability.md`.

/// Declares an object of the statistics. A line reads
///
/// ```text
/// name: Type as "key" of Inner, "What it means.";
/// ```
///
/// `as` is there where the value holds further objects: under which key, and of
/// which type.
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
    };
}

pub(crate) use members;
