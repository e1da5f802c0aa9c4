//! How the fields of a record are declared: one line of a table for each, from
//! which come the struct, the JSON line and the reference in
//! `docs/observability.md`.

/// Declares the record. A line of the part `logged` reads
///
/// ```text
/// "name in the log": presence field: Type = default, Form, "What it means.";
/// ```
///
/// `presence` is `always`, `optional` (an [`Option`], left out while it is
/// `None`) or `list` (a slice, left out while it is empty). The default is that
/// of the type unless there is another one. The form is an expression whose type
/// has [`Form`](super::form::Form) for the type of the field. The order of the
/// lines is that of the fields in a line of the log.
///
/// Fields of the part `counted` are in no line.
macro_rules! record {
    (
        $(#[$doc:meta])*
        pub struct $record:ident<$life:lifetime>;
        logged {
            $(
                $(#[$note:meta])*
                $name:literal: $presence:ident $field:ident: $type:ty $(= $default:expr)?,
                $form:expr, $meaning:literal;
            )*
        }
        counted {
            $($(#[$counted_doc:meta])* $counted:ident: $counted_type:ty;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $record<$life> {
            $(
                #[doc = $meaning]
                $(#[doc = ""] #[$note])*
                pub $field: record!(@type $life $presence $type),
            )*
            $($(#[$counted_doc])* pub $counted: $counted_type,)*
        }

        impl Default for $record<'_> {
            fn default() -> Self {
                Self {
                    $($field: record!(@default $($default)?),)*
                    $($counted: Default::default(),)*
                }
            }
        }

        impl $record<'_> {
            /// Appends one JSON object and a newline. What is not known is left out.
            pub(crate) fn push_json(&self, out: &mut Vec<u8>, clock: &mut Clock) {
                let start = out.len();
                let mut line = Line { out, clock };
                $(record!(@push $presence line, self.$field, $name, $form);)*
                // Each field has a comma before it; of the first one it becomes the brace.
                if let Some(comma) = out.get_mut(start) {
                    *comma = b'{';
                }
                out.extend_from_slice(b"}\n");
            }

            /// Every field of a JSON line in its order: name, presence, form, meaning.
            #[cfg(test)]
            pub(crate) fn reference() -> Vec<[String; 4]> {
                vec![$([
                    format!("`{}`", $name),
                    record!(@presence $presence).to_owned(),
                    $form.to_string(),
                    $meaning.to_owned(),
                ],)*]
            }
        }
    };
    (@type $life:lifetime always $type:ty) => { $type };
    (@type $life:lifetime optional $type:ty) => { Option<$type> };
    (@type $life:lifetime list $type:ty) => { &$life [$type] };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@push always $line:ident, $value:expr, $name:literal, $form:expr) => {
        $line.push(
            [concat!(",\"", $name, "\":"), concat!(",\"", $name, "\":\"")],
            &$form,
            $value,
        );
    };
    (@push optional $line:ident, $value:expr, $name:literal, $form:expr) => {
        if let Some(value) = $value {
            record!(@push always $line, value, $name, $form);
        }
    };
    (@push list $line:ident, $value:expr, $name:literal, $form:expr) => {
        if !$value.is_empty() {
            record!(@push always $line, $value, $name, $form);
        }
    };
    (@presence always) => { "always" };
    (@presence optional) => { "if known" };
    (@presence list) => { "if not empty" };
}

pub(super) use record;
