//! What a function returns: `deny`, `answer` and `cut`.

use rhai::{Dynamic, INT, Map};

use super::values::text_of;
use super::{Fallible, misuse, type_name};
use crate::hook::{Answer, Denial, StatusError};
use crate::script::engine::Returned;
use crate::script::natives::Natives;

/// The value of `deny`, `answer` and `cut`.
#[derive(Clone)]
pub(in crate::script) struct Return(pub Returned);

pub(super) fn register(natives: &mut Natives) {
    natives.module().set_custom_type::<Return>("verdict");
    natives.function("deny", || Return(Returned::Denial(Denial::new())));
    natives.function("deny", |message: &str| {
        Return(Returned::Denial(Denial::new().with_message(message)))
    });
    natives.function("deny", |status: INT| denial(status));
    natives.function("deny", |status: INT, message: &str| -> Fallible<Return> {
        let Return(returned) = denial(status)?;
        Ok(Return(match returned {
            Returned::Denial(denial) => Returned::Denial(denial.with_message(message)),
            other => other,
        }))
    });
    natives.function("answer", |status: INT, body: &str| {
        answer(status, &Map::new(), body)
    });
    natives.function("answer", |status: INT, fields: Map, body: &str| {
        answer(status, &fields, body)
    });
    natives.function("cut", || Return(Returned::Cut));
}

fn denial(status: INT) -> Fallible<Return> {
    let code = u16::try_from(status).unwrap_or_default();
    match Denial::new().with_status(code) {
        Ok(denial) => Ok(Return(Returned::Denial(denial))),
        Err(_) => Err(misuse(
            "deny",
            format_args!(
                "{status} is not the status of a denial; {}",
                StatusError::REMEDY
            ),
        )),
    }
}

fn answer(status: INT, fields: &Map, body: &str) -> Fallible<Return> {
    let status = u16::try_from(status).unwrap_or_default();
    let mut answer =
        Answer::new(status, body.to_owned()).map_err(|error| misuse("answer", error))?;
    for (name, value) in fields {
        let value: &Dynamic = value;
        let value = text_of(value).ok_or_else(|| {
            let found = type_name(value.type_name());
            let why = format!("{name}: the value is {found}, where a text is expected");
            misuse("answer", why)
        })?;
        answer = answer
            .with_field(name, &value)
            .map_err(|error| misuse("answer", error))?;
    }
    Ok(Return(Returned::Answer(answer)))
}
