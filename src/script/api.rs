//! What a script can call: the request, response or tunnel as `r`, and the functions beside it.
//!
//! Each goes through `Request`, `Response` or `Tunnel` of `hook`, which check what a hook may do.

mod answers;
mod values;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use rhai::{
    Array, Dynamic, EvalAltResult, FuncRegistration, INT, ImmutableString, NativeCallContext,
};

pub(super) use self::answers::Return;
pub(super) use self::values::{Moved, TextTest, constants, own_natives, text_test, type_name};
use self::values::{SecretValue, text_of};
use super::SecretText;
use super::engine::Subject;
use super::natives::Natives;
use crate::hook::{self, CheckedField, ClientHello, PathError, Phases, Request, Role};

/// The `r` of a script.
#[derive(Clone)]
pub(super) struct Handle(pub Rc<RefCell<Option<Subject>>>);

/// A call that the script should not make; the reason is for the log.
#[derive(Clone, Debug)]
pub(super) struct Misuse {
    reason: ImmutableString,
    /// Whether it is the request that cannot be decided about.
    pub is_of_request: bool,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What a function of the host returns.
type Fallible<T> = Result<T, Box<EvalAltResult>>;

/// The error of a function: its name and why.
fn misuse(function: &str, why: impl fmt::Display) -> Box<EvalAltResult> {
    fail(Misuse {
        reason: format!("{function}: {why}").into(),
        is_of_request: false,
    })
}

fn fail(misuse: Misuse) -> Box<EvalAltResult> {
    let error = EvalAltResult::ErrorRuntime(Dynamic::from(misuse), rhai::Position::NONE);
    Box::new(error)
}

/// A text, or `()`.
fn text(text: Option<Cow<'_, str>>) -> Dynamic {
    text.map_or(Dynamic::UNIT, |text| ImmutableString::from(&*text).into())
}

impl Handle {
    /// Runs with what the call is about.
    fn with<T>(&self, run: impl FnOnce(&mut Subject) -> T) -> Fallible<T> {
        let mut subject = self.0.borrow_mut();
        let subject = subject
            .as_mut()
            .ok_or_else(|| misuse("r", "the call is over"))?;
        Ok(run(subject))
    }

    /// Runs with the request.
    fn request<T>(&self, run: impl FnOnce(&mut Request<'_>) -> T) -> Fallible<T> {
        self.with(|subject| run(&mut subject.detached.request()))
    }

    /// The value of a field: that of the response, where there is one.
    fn field(&self, name: &str) -> Fallible<Dynamic> {
        self.with(|subject| match subject.detached.response() {
            Some(response) => text(response.field(name)),
            None => text(subject.detached.request().field(name)),
        })
    }

    /// Writes a field of the request that goes on. Whether that is done: [`edit`](Self::edit) knows why it is not.
    pub(super) fn set(&self, field: &CheckedField) -> bool {
        let mut subject = self.0.borrow_mut();
        let subject = subject.as_mut();
        subject.is_some_and(|subject| subject.detached.set_checked(field))
    }

    fn edit(&self, function: &str, edit: Edit, name: &str, value: &str) -> Fallible<()> {
        let edited = self.with(|subject| match (subject.detached.response(), edit) {
            (Some(mut response), Edit::Set) => response.set_field(name, value),
            (Some(mut response), Edit::Add) => response.add_field(name, value),
            (Some(mut response), Edit::Remove) => response.remove_field(name),
            (None, Edit::Set) => subject.detached.request().set_field(name, value),
            (None, Edit::Add) => subject.detached.request().add_field(name, value),
            (None, Edit::Remove) => subject.detached.request().remove_field(name),
        })?;
        edited.map_err(|error| misuse(function, error))
    }
}

/// A change of a head.
#[derive(Clone, Copy)]
enum Edit {
    Set,
    Add,
    Remove,
}

/// The functions that are the same for every script.
pub(super) fn natives() -> Natives {
    let mut natives = Natives::default();
    natives.module().set_custom_type::<Handle>("request");
    facts(&mut natives);
    questions(&mut natives);
    fields(&mut natives);
    wishes(&mut natives);
    answers::register(&mut natives);
    values::register(&mut natives);
    natives
}

/// A property of the request.
fn property(
    natives: &mut Natives,
    name: &str,
    read: impl Fn(&mut Request<'_>) -> Dynamic + 'static,
) {
    natives.property(name, move |r: &mut Handle| {
        r.request(|request| read(request))
    });
}

/// A property of the hello in a tunnel; `()` where none was read.
fn hello(natives: &mut Natives, name: &str, read: impl Fn(ClientHello<'_>) -> Dynamic + 'static) {
    natives.property(name, move |r: &mut Handle| {
        r.with(|subject| {
            let tunnel = subject.detached.tunnel();
            tunnel.hello().map_or(Dynamic::UNIT, &read)
        })
    });
}

fn facts(natives: &mut Natives) {
    let constant = |text: &str| ImmutableString::from(text).into();
    property(natives, "id", move |r| constant(r.id()));
    property(natives, "role", move |r| constant(r.role().as_str()));
    property(natives, "method", move |r| constant(r.method()));
    property(natives, "version", move |r| constant(r.version()));
    property(natives, "scheme", move |r| constant(r.scheme()));
    property(natives, "host", |r| text(r.host()));
    property(natives, "port", |r| {
        r.port()
            .map_or(Dynamic::UNIT, |port| INT::from(port).into())
    });
    property(natives, "path", |r| text(r.path()));
    property(natives, "query", |r| text(r.query()));
    property(natives, "client", |r| {
        ImmutableString::from(r.client().to_string()).into()
    });
    property(natives, "tls", |r| r.is_tls().into());
    property(natives, "user", |r| text(r.user().map(Cow::Borrowed)));
    // An array, whose size Rhai checks.
    FuncRegistration::new_getter("groups").set_into_module(natives.module(), |r: &mut Handle| {
        r.request(|request| {
            let groups = request.groups();
            let groups = groups.map(|group| ImmutableString::from(group).into());
            Dynamic::from_array(groups.collect::<Array>())
        })
    });
    hello(natives, "sni", |hello| text(hello.sni().map(Cow::Borrowed)));
    hello(natives, "alpn", |hello| {
        let protocols = hello.alpn();
        let protocols = protocols.map(|protocol| ImmutableString::from(protocol).into());
        Dynamic::from_array(protocols.collect::<Array>())
    });
    hello(natives, "ja4", |hello| {
        text(Some(Cow::Borrowed(hello.ja4())))
    });
    hello(natives, "ech", |hello| hello.has_ech().into());
    natives.property("status", |r: &mut Handle| {
        r.with(|subject| {
            let response = subject
                .detached
                .response()
                .map(|response| response.status());
            let status = response.or(subject.status);
            status.map_or(Dynamic::UNIT, |status| INT::from(status).into())
        })
    });
}

fn questions(natives: &mut Natives) {
    natives.function("group", |r: &mut Handle| {
        r.request(|request| text(request.groups().next().map(Cow::Borrowed)))
    });
    natives.function("in_group", |r: &mut Handle, group: &str| {
        r.request(|request| request.in_group(group))
    });
    natives.function(
        "host_under",
        |r: &mut Handle, domain: &str| -> Fallible<bool> {
            if let Some(why) = domain_fault(domain) {
                return Err(misuse("host_under", why));
            }
            r.request(|request| request.host_under(domain))
        },
    );
    natives.function(
        "path_under",
        |r: &mut Handle, prefix: &str| -> Fallible<bool> {
            let is_under = r.request(|request| request.path_under(prefix))?;
            is_under.map_err(|error| {
                fail(Misuse {
                    reason: format!("path_under: {error}").into(),
                    is_of_request: error == PathError::Ambiguous,
                })
            })
        },
    );
}

/// What is wrong with the argument of `host_under`, which no host would be under.
pub(super) fn domain_fault(domain: &str) -> Option<&'static str> {
    let is_canonical = !domain.is_empty()
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !domain.bytes().any(|byte| byte.is_ascii_uppercase());
    (!is_canonical)
        .then_some("not a domain in lower case without a dot at its ends, such as corp.example")
}

fn fields(natives: &mut Natives) {
    natives.function("header", |r: &mut Handle, name: &str| r.field(name));
    natives.function("request_header", |r: &mut Handle, name: &str| {
        r.request(|request| text(request.field(name)))
    });
    for (name, edit) in [("set_header", Edit::Set), ("add_header", Edit::Add)] {
        natives.function(name, move |r: &mut Handle, field: &str, value: &str| {
            r.edit(name, edit, field, value)
        });
        natives.function(
            name,
            move |r: &mut Handle, field: &str, value: Dynamic| -> Fallible<()> {
                let value = text_of(&value).ok_or_else(|| {
                    let found = type_name(value.type_name());
                    misuse(
                        name,
                        format_args!("{field}: the value is {found}, where a text is expected"),
                    )
                })?;
                r.edit(name, edit, field, &value)
            },
        );
    }
    natives.function("set_header", |r: &mut Handle, field: &str, value: SecretValue| -> Fallible<()> {
            let edited = r.with(|subject| {
                if subject.detached.response().is_some() {
                    return Err("a secret goes to servers alone, in the phase upstream_request or one before it".to_owned());
                }
                let phase = subject.detached.phase();
                let mut request = subject.detached.request();
                if let Some(why) = clear_text(phase, &request, value.text()) {
                    return Err(why.to_owned());
                }
                let edited = request.set_secret_field(field, value.text().expose());
                edited.map_err(|error| error.to_string())
            })?;
            edited.map_err(|why| misuse("set_header", format_args!("{field}: {why}")))
        },
    );
    natives.function("remove_header", |r: &mut Handle, field: &str| {
        r.edit("remove_header", Edit::Remove, field, "")
    });
}

/// Why a secret would be sent where others can read it. The gateway's pools are those of the operator.
fn clear_text(phase: Phases, request: &Request<'_>, secret: &SecretText) -> Option<&'static str> {
    if request.role() != Role::Forward || secret.may_be_in_clear_text() {
        return None;
    }
    if phase == Phases::REQUEST {
        return Some(
            "a secret is set when the policy has decided, in the phase authorize or a later one",
        );
    }
    (request.scheme() != "https").then_some(
        "the request goes over http, which shows a secret to others; admit it by a rule with `upgrade: https`, or let the secret have `clear_text: true`",
    )
}

fn wishes(natives: &mut Natives) {
    natives.function(
        "set_target",
        |r: &mut Handle, target: &str| -> Fallible<()> {
            let set = r.request(|request| request.set_target(target))?;
            set.map_err(|error| misuse("set_target", error))
        },
    );
    natives.function("pool", |r: &mut Handle, pool: &str| -> Fallible<()> {
        let set = r.request(|request| request.use_pool(pool))?;
        set.map_err(|error| misuse("pool", error))
    });
    natives.function("via", |r: &mut Handle, via: &str| -> Fallible<()> {
        let set = r.request(|request| request.go_via(via))?;
        set.map_err(|error| misuse("via", error))
    });
    for name in ["tag", "count"] {
        let note = move |r: &mut Handle, label: &str, value: &str| -> Fallible<()> {
            let noted = r.request(|request| match name {
                "tag" => request.tag(label, value),
                _ => request.count(label, value),
            })?;
            noted.map_err(|error| misuse(name, error))
        };
        natives.function(name, note);
        natives.function(
            name,
            move |r: &mut Handle, label: &str, value: Dynamic| -> Fallible<()> {
                if value.is_unit() {
                    return note(r, label, "");
                }
                let value = text_of(&value).ok_or_else(|| {
                    let found = type_name(value.type_name());
                    misuse(
                        name,
                        format_args!("the value is {found}, where a text is expected"),
                    )
                })?;
                note(r, label, &value)
            },
        );
    }
    natives.function("count", |r: &mut Handle, name: &str| -> Fallible<()> {
        let noted = r.request(|request| request.count(name, ""))?;
        noted.map_err(|error| misuse("count", error))
    });
    natives.function(
        "report_every",
        |r: &mut Handle, bytes: INT| -> Fallible<()> {
            let bytes = u64::try_from(bytes).ok();
            let bytes = bytes.ok_or_else(|| misuse("report_every", "less than 0"))?;
            r.with(|subject| subject.detached.tunnel().report_every(bytes))
        },
    );
}

/// Replaces, and refuses a result that is too large before it is made.
fn replaced(
    context: &NativeCallContext<'_>,
    string: &mut ImmutableString,
    found: &str,
    by: &str,
) -> Fallible<()> {
    let so_many = if found.is_empty() {
        string.chars().count() + 1
    } else {
        string.matches(found).count()
    };
    let size = string
        .len()
        .saturating_add(so_many.saturating_mul(by.len()));
    if size > context.engine().max_string_size() + so_many.saturating_mul(found.len()) {
        return Err(EvalAltResult::ErrorDataTooLarge("String".into(), rhai::Position::NONE).into());
    }
    *string = string.replace(found, by).into();
    Ok(())
}

/// Whether a method of a request is for this phase alone.
pub(super) fn phases_of(method: &str) -> Option<Phases> {
    match method {
        "set_target" => Some(Phases::REQUEST),
        "pool" | "via" => Some(Phases::REQUEST.and(Phases::AUTHORIZE).and(Phases::ROUTE)),
        "report_every" => Some(Phases::TUNNEL_OPEN.and(Phases::TUNNEL_BYTES)),
        _ => None,
    }
}

/// What is wrong with the argument of `path_under`.
pub(super) fn prefix_fault(prefix: &str) -> Option<String> {
    hook::prefix_fault(prefix).map(|error| error.to_string())
}

/// Why a field cannot be written.
pub(super) fn field_fault(name: &str, is_response: bool) -> Option<String> {
    hook::name_fault(name, is_response).map(|error| error.to_string())
}
