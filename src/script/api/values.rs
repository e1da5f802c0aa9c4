//! Values beside the request: secrets, settings, the bytes of a tunnel, and texts.

use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rhai::{Array, Dynamic, FuncRegistration, INT, ImmutableString, NativeCallContext};

use super::{Fallible, Misuse, misuse, replaced};
use crate::hook::Traffic;
use crate::script::natives::Natives;
use crate::script::{SecretText, Secrets, Setting, Settings};

/// The value of `secret`, `bearer` and `basic`. It has no function but those that write it into a field.
#[derive(Clone)]
pub(in crate::script) struct SecretValue(SecretText);

impl SecretValue {
    pub(super) fn text(&self) -> &SecretText {
        &self.0
    }
}

/// What went through a tunnel.
#[derive(Clone)]
pub(in crate::script) struct Moved {
    /// Since the last call.
    pub moved: Traffic,
    /// In all.
    pub total: Traffic,
}

/// `settings`.
#[derive(Clone)]
struct Constants(Rc<BTreeMap<ImmutableString, Dynamic>>);

pub(super) fn register(natives: &mut Natives) {
    let module = natives.module();
    module.set_custom_type::<SecretValue>("secret");
    module.set_custom_type::<Moved>("traffic");
    module.set_custom_type::<Constants>("settings");
    module.set_custom_type::<Misuse>("error");
    for name in ["to_string", "print"] {
        FuncRegistration::new(name).set_into_module(module, |error: &mut Misuse| {
            ImmutableString::from(error.to_string())
        });
    }
    natives.function("bearer", |secret: SecretValue| {
        let text = format!("Bearer {}", secret.0.expose());
        SecretValue(secret.0.derived(text.into_bytes()))
    });
    natives.function(
        "basic",
        |user: &str, secret: SecretValue| -> Fallible<SecretValue> {
            if user.contains(':') {
                return Err(misuse(
                    "basic",
                    "a user with a colon, which Basic cannot have",
                ));
            }
            let mut pair = format!("{user}:{}", secret.0.expose());
            let text = format!("Basic {}", STANDARD.encode(&pair));
            zeroize::Zeroize::zeroize(&mut pair);
            Ok(SecretValue(secret.0.derived(text.into_bytes())))
        },
    );
    register_traffic(natives);
    natives.index(
        |settings: &mut Constants, name: &str| -> Fallible<Dynamic> {
            let setting = settings.0.get(name).cloned();
            setting.ok_or_else(|| misuse("settings", format_args!("there is no {name:?}")))
        },
    );
    natives.function("contains", |settings: &mut Constants, name: &str| {
        settings.0.contains_key(name)
    });
    register_texts(natives);
}

fn register_traffic(natives: &mut Natives) {
    type Read = fn(&Moved) -> u64;
    let properties: [(&str, Read); 4] = [
        ("bytes_from_client", |it| it.moved.bytes_from_client),
        ("bytes_from_upstream", |it| it.moved.bytes_from_upstream),
        ("total_from_client", |it| it.total.bytes_from_client),
        ("total_from_upstream", |it| it.total.bytes_from_upstream),
    ];
    for (name, read) in properties {
        natives.property(name, move |moved: &mut Moved| {
            INT::try_from(read(moved)).unwrap_or(INT::MAX)
        });
    }
}

/// What is asked of a text with another one.
pub(in crate::script) type TextTest = fn(&str, &str) -> bool;

const TESTS: [(&str, TextTest); 3] = [
    ("contains", |string, found| string.contains(found)),
    ("starts_with", |string, found| string.starts_with(found)),
    ("ends_with", |string, found| string.ends_with(found)),
];

/// The test of this name.
pub(in crate::script) fn text_test(name: &str) -> Option<TextTest> {
    let found = TESTS.iter().find(|(other, _)| *other == name);
    found.map(|(_, test)| *test)
}

/// In place of Rhai's own: `replace` makes a result before it looks how large it is, and the tests are called directly.
fn register_texts(natives: &mut Natives) {
    for (name, test) in TESTS {
        natives.function(name, move |string: &mut ImmutableString, found: &str| {
            test(string, found)
        });
    }
    let module = natives.module();
    FuncRegistration::new("replace").set_into_module(
        module,
        |context: NativeCallContext<'_>, string: &mut ImmutableString, found: &str, by: &str| {
            replaced(&context, string, found, by)
        },
    );
    FuncRegistration::new("replace").set_into_module(
        module,
        |context: NativeCallContext<'_>, string: &mut ImmutableString, found: &str, by: char| {
            replaced(&context, string, found, by.encode_utf8(&mut [0; 4]))
        },
    );
    FuncRegistration::new("replace").set_into_module(
        module,
        |context: NativeCallContext<'_>, string: &mut ImmutableString, found: char, by: &str| {
            replaced(&context, string, found.encode_utf8(&mut [0; 4]), by)
        },
    );
    FuncRegistration::new("replace").set_into_module(
        module,
        |context: NativeCallContext<'_>, string: &mut ImmutableString, found: char, by: char| {
            let (found, by) = (found.to_string(), by.to_string());
            replaced(&context, string, &found, &by)
        },
    );
}

/// The functions of one script.
pub(in crate::script) fn own_natives(secrets: &Secrets) -> Natives {
    let mut natives = Natives::default();
    let secrets = secrets.clone();
    natives.function("secret", move |name: &str| -> Fallible<SecretValue> {
        let secret = secrets.get(name).cloned();
        let secret = secret
            .ok_or_else(|| misuse("secret", format_args!("tollgate.secrets has no {name:?}")))?;
        Ok(SecretValue(secret))
    });
    natives
}

/// The value of `settings`.
pub(in crate::script) fn constants(settings: &Settings) -> Dynamic {
    let constants = settings
        .iter()
        .map(|(name, setting)| (ImmutableString::from(name), dynamic(setting)));
    Dynamic::from(Constants(Rc::new(constants.collect()))).into_read_only()
}

fn dynamic(setting: &Setting) -> Dynamic {
    match setting {
        Setting::Text(text) => ImmutableString::from(&**text).into(),
        Setting::Number(number) => (*number).into(),
        Setting::Flag(flag) => (*flag).into(),
        Setting::List(list) => Dynamic::from_array(list.iter().map(dynamic).collect::<Array>()),
    }
}

/// A text, a number or a flag as a text.
pub(super) fn text_of(value: &Dynamic) -> Option<ImmutableString> {
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Some(text.clone());
    }
    let is_plain = value.is_int() || value.is_bool() || value.is_char();
    is_plain.then(|| value.to_string().into())
}

/// The name of a type as a script knows it.
pub(in crate::script) fn type_name(name: &str) -> &str {
    match name {
        "()" => "()",
        "i64" => "a number",
        "bool" => "true or false",
        "string" | "char" => "a text",
        "array" => "an array",
        "map" => "a map",
        _ if name.ends_with("SecretValue") => "a secret",
        _ if name.ends_with("Handle") => "the request",
        _ if name.ends_with("Return") => "a verdict",
        _ => "another value",
    }
}
