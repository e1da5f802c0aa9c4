//! The tables of keys: each key of the configuration is declared once, as one line of the table of its map.
//!
//! ```text
//! /// What the key means, in a sentence or two.
//! name: type = default, form;
//! ```
//!
//! A line becomes a field, which `take` reads: an unknown type or a value out of range is reported, and the
//! default is taken; a default may name a key above. The form ([`form`]) says how the value is written. `on reload` at the end of a line says
//! that a reload applies the key, with all that is below it; every other key needs a restart.
//!
//! Two files are generated from the tables and committed: the tables of docs/configuration.md and
//! conf/tollgate.schema.json. `make reference` writes them, a test compares them.

pub(super) mod form;
#[cfg(test)]
pub(super) mod shape;

/// Declares the keys of a map: a struct with a field for each, which `take` reads from a section.
///
/// A form that leaves the value as it is written says nothing of it, so the shape of the value follows, for the
/// reference: `Raw => PATH`.
macro_rules! keys {
    (
        $(#[$about:meta])*
        $vis:vis struct $table:ident $(<$life:lifetime>)? {
            $(
                $(#[doc = $doc:literal])+
                $name:ident: $type:ty = $default:expr, $form:expr $(=> $shape:expr)? $(, on $reload:ident)?;
            )+
        }
    ) => {
        $(#[$about])*
        $vis struct $table $(<$life>)? {
            $($(#[doc = $doc])+ $vis $name: $type,)+
        }

        impl $(<$life>)? $table $(<$life>)? {
            /// The names of the keys.
            pub(in crate::config) const NAMES: &'static [&'static str] = &[$(stringify!($name),)+];

            /// Reads every key, in the order of the table.
            fn take(section: &mut $crate::config::reader::Section $(<$life>)?) -> Self {
                section.declare(Self::NAMES, &[$($(keys!(@if $reload stringify!($name)),)?)+]);
                $(let $name: $type = $crate::config::keys::form::Take::take(
                    &$form, section, stringify!($name), $default,
                );)+
                Self { $($name,)+ }
            }

            /// The keys, for the reference.
            #[cfg(test)]
            pub(in crate::config) fn keys() -> Vec<$crate::config::keys::shape::Key> {
                use $crate::config::keys::{form::Take, shape::*};
                $(let $name = $default;)+
                vec![$(Key {
                    name: stringify!($name),
                    about: concat!($($doc),+).trim(),
                    default: Take::<$type>::default(&$form, $name),
                    shape: keys!(@shape $type, $form $(=> $shape)?),
                    on_reload: keys!(@reload $($reload)?),
                },)+]
            }
        }
    };
    (@if reload $name:expr) => { $name };
    (@reload reload) => { true };
    (@reload) => { false };
    (@shape $type:ty, $form:expr => $shape:expr) => { $shape };
    (@shape $type:ty, $form:expr) => { Take::<$type>::shape(&$form) };
}

/// As `keys!`, for a map whose keys all have a default: the struct is a part of the configuration.
macro_rules! settings {
    (
        $(#[$about:meta])*
        $vis:vis struct $table:ident {
            $(
                $(#[doc = $doc:literal])+
                $name:ident: $type:ty = $default:expr, $form:expr $(=> $shape:expr)?;
            )+
        }
    ) => {
        keys! {
            $(#[$about])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            $vis struct $table {
                $($(#[doc = $doc])+ $name: $type = $default, $form $(=> $shape)?;)+
            }
        }

        impl Default for $table {
            fn default() -> $table {
                $(let $name: $type = $default;)+
                $table { $($name,)+ }
            }
        }

        impl $crate::config::keys::form::Settings for $table {
            fn read(mut section: $crate::config::reader::Section<'_>) -> $table {
                let settings = $table::take(&mut section);
                section.finish();
                settings
            }
        }

        impl<'d> $crate::config::keys::form::Take<'d, $table> for $crate::config::keys::form::Nested {
            type Default = $table;

            fn take(
                &self,
                section: &mut $crate::config::reader::Section<'d>,
                key: &'static str,
                _: $table,
            ) -> $table {
                $crate::config::keys::form::Settings::read(section.part(key).section())
            }

            #[cfg(test)]
            fn default(&self, _: $table) -> $crate::config::keys::shape::DefaultText {
                $crate::config::keys::shape::DefaultText::OfItsKeys
            }

            #[cfg(test)]
            fn shape(&self) -> $crate::config::keys::shape::Shape {
                $crate::config::keys::shape::Shape::Part($table::keys)
            }
        }
    };
}

pub(super) use {keys, settings};
