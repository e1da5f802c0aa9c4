//! The names in a script: properties, methods and functions, and the constant arguments of some.

use rhai::{Expr, FnCallExpr, Position};

use super::arguments;
use super::walk::Walk;
use crate::hook::Phases;
use crate::script::vocabulary::{COMMON, FUNCTIONS, METHODS, PHASES, PROPERTIES, REFUSED, arities};
use crate::script::{SecretText, api};
use crate::text::nearest::nearest;

/// Where `tollgate script run` has settings and secrets from, too.
const OF_CONFIGURATION: &str = "take all from a configuration: `-c FILE`";

impl Walk<'_> {
    /// `r.name`
    pub(super) fn property(&mut self, name: &str, at: Position) {
        if PROPERTIES.contains(&name) {
            return;
        }
        let subject = self
            .subject
            .as_ref()
            .map_or("r", |(name, _)| name)
            .to_owned();
        if arities(&METHODS, name).is_some() {
            let message = format!("{name} is a function of a request, without its arguments");
            self.report(at, message, format!("write `{subject}.{name}(..)`"));
            return;
        }
        let methods = METHODS.iter().map(|(name, _)| *name);
        let remedy = match nearest(name, PROPERTIES.into_iter().chain(methods)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("a request has {}", PROPERTIES.join(", ")),
        };
        self.report(at, format!("a request has no `{name}`"), remedy);
    }

    /// `settings.name`
    pub(super) fn setting(&mut self, name: &str, at: Position) {
        let settings = &self.source.settings;
        if settings.names().any(|other| other == name) {
            return;
        }
        let remedy = match nearest(name, settings.names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.source.is_alone => {
                format!("give it: `--setting {name}=VALUE`, or {OF_CONFIGURATION}")
            }
            None => format!("add it to `settings` of the script {}", self.source.name),
        };
        self.report(at, format!("settings has no `{name}`"), remedy);
    }

    /// The left side of `=`.
    pub(super) fn assigned(&mut self, target: &Expr) {
        let (Expr::Dot(pair, _, at) | Expr::Index(pair, _, at)) = target else {
            return;
        };
        let is_settings =
            matches!(&pair.lhs, Expr::Variable(variable, ..) if variable.1 == "settings");
        if is_settings {
            self.report(
                *at,
                "settings are constant",
                "use a variable: `let x = settings.name`",
            );
        } else if self.is_subject(&pair.lhs) {
            let remedy = "use a function of it, such as set_header(name, value) or set_target(\"host:port\")";
            self.report(*at, "nothing is assigned to a request", remedy);
        }
    }

    /// `name(..)`
    pub(super) fn function(&mut self, call: &FnCallExpr, at: Position) {
        for argument in &call.args {
            self.expression(argument);
        }
        if call.is_operator_call() {
            return;
        }
        let (name, count) = (call.name.as_str(), call.args.len());
        if self.own(name, count, at) {
            return;
        }
        if let Some((_, why)) = REFUSED.iter().find(|(other, _)| *other == name) {
            self.report(at, format!("scripts have no `{name}`"), *why);
            return;
        }
        match name {
            "secret" => self.secret(call),
            "bearer" => self.bearer(call),
            _ => {}
        }
        let known = arities(&FUNCTIONS, name);
        // A method may be called as a function, with its value as the first argument.
        let common = arities(&COMMON, name)
            .is_some_and(|counts| counts.iter().any(|other| other + 1 == count));
        match known {
            Some(counts) if counts.contains(&count) || common => {}
            Some(counts) => self.wrong_count(name, counts, count, at),
            None if common => {}
            None => self.unknown(name, at, FUNCTIONS.iter().map(|(name, _)| *name)),
        }
    }

    /// `x.name(..)`
    pub(super) fn method(&mut self, call: &FnCallExpr, at: Position, is_subject: bool) {
        for argument in &call.args {
            self.expression(argument);
        }
        let (name, count) = (call.name.as_str(), call.args.len());
        if matches!(name, "header") {
            self.reads_fields = true;
        }
        if !is_subject && self.own(name, count, at) {
            return;
        }
        if let Some((_, why)) = REFUSED.iter().find(|(other, _)| *other == name) {
            self.report(at, format!("scripts have no `{name}`"), *why);
            return;
        }
        let of_request = arities(&METHODS, name);
        let of_values = arities(&COMMON, name).filter(|_| !is_subject);
        let counts = [of_request, of_values];
        let mut counts = counts.into_iter().flatten();
        let known: Vec<usize> = counts.by_ref().flatten().copied().collect();
        if known.contains(&count) {
            if of_request.is_some() {
                self.arguments_of(call, at, is_subject);
            }
        } else if !known.is_empty() {
            self.wrong_count(name, &known, count, at);
        } else if is_subject && PROPERTIES.contains(&name) {
            let message = format!("{name} is a value of a request, and no function");
            self.report(at, message, format!("write `{name}` without parentheses"));
        } else if is_subject {
            let remedy = match nearest(name, METHODS.iter().map(|(name, _)| *name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let names: Vec<&str> = METHODS.iter().map(|(name, _)| *name).collect();
                    format!("a request has {}", names.join(", "))
                }
            };
            self.report(at, format!("a request has no function `{name}`"), remedy);
        } else {
            let names = METHODS.iter().chain(&COMMON).map(|(name, _)| *name);
            self.unknown(name, at, names);
        }
    }

    /// Whether it is a function of the script; notes that it is called.
    fn own(&mut self, name: &str, count: usize, at: Position) -> bool {
        let mut named = self
            .functions
            .iter()
            .filter(|other| *other.name == *name)
            .peekable();
        if named.peek().is_none() {
            return false;
        }
        let counts: Vec<usize> = named.map(|other| other.parameters.len()).collect();
        if counts.contains(&count) {
            if *self.inside != *name {
                self.called.insert((name.into(), count));
            }
        } else {
            for other in &counts {
                self.called.insert((name.into(), *other));
            }
            self.wrong_count(name, &counts, count, at);
        }
        true
    }

    fn wrong_count(&mut self, name: &str, counts: &[usize], found: usize, at: Position) {
        let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
        let wanted = match counts.as_slice() {
            [one] => arguments(one.parse().unwrap_or_default()),
            more => format!("{} arguments", more.join(" or ")),
        };
        let message = format!("{name} has {wanted}, and is called with {found}");
        self.report(at, message, "correct the call");
    }

    fn unknown<'c>(&mut self, name: &str, at: Position, names: impl Iterator<Item = &'c str>) {
        let own: Vec<Box<str>> = self
            .functions
            .iter()
            .map(|other| other.name.clone())
            .collect();
        let own = nearest(name, own.iter().map(AsRef::as_ref));
        // The call that is meant: that no function calls it would be said of the wrong place.
        let meant = self.functions.iter().filter(|f| own == Some(&*f.name));
        let meant = meant.map(|function| (function.name.clone(), function.parameters.len()));
        self.called.extend(meant);
        let near = own.or_else(|| nearest(name, names));
        let remedy = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if arities(&METHODS, name).is_some() => {
                format!("it is a function of a request: write `r.{name}(..)`")
            }
            None => "docs/scripts.md has the functions".to_owned(),
        };
        self.report(at, format!("unknown function `{name}`"), remedy);
    }

    /// `secret("name")`
    fn secret(&mut self, call: &FnCallExpr) {
        let Some(Expr::StringConstant(name, at)) = call.args.first() else {
            return;
        };
        let secrets = &self.source.secrets;
        if secrets.get(name).is_some() {
            return;
        }
        let is_alone = self.source.is_alone;
        let remedy = match nearest(name, secrets.names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if is_alone => {
                format!("give a placeholder: `--secret {name}`, or {OF_CONFIGURATION}")
            }
            None => format!("add it: `secrets: {{ {name}: {{ file: /run/secrets/{name} }} }}`"),
        };
        let place = if is_alone {
            "the command line"
        } else {
            "tollgate.secrets"
        };
        let message = format!("{place} has no {:?}", name.as_str());
        self.report(*at, message, remedy);
    }

    /// `bearer(secret("name"))`
    fn bearer(&mut self, call: &FnCallExpr) {
        let Some(Expr::FnCall(inner, _)) = call.args.first() else {
            return;
        };
        let Some(Expr::StringConstant(name, at)) = inner.args.first() else {
            return;
        };
        let secret = self.source.secrets.get(name);
        let secret = secret.filter(|_| inner.name == "secret");
        if let Some(scheme) = secret.and_then(SecretText::scheme) {
            let message =
                format!("the secret begins with {scheme}, and bearer(..) writes Bearer before it");
            let remedy = "put the token alone into it, or write it without bearer(..)";
            self.warn(*at, message, remedy);
        }
    }

    /// The phase of a method, and its constant arguments.
    fn arguments_of(&mut self, call: &FnCallExpr, at: Position, is_subject: bool) {
        let name = call.name.as_str();
        let phase = self.subject.as_ref().map(|(_, phase)| *phase);
        if let (true, Some(phase), Some(of)) = (is_subject, phase, api::phases_of(name))
            && !of.has(phase)
        {
            let mut names = PHASES.iter().filter(|(_, phase)| of.has(*phase));
            let names: Vec<&str> = names.by_ref().map(|(name, _)| *name).collect();
            let message = format!("{name} has no effect in the phase {}", phase.name());
            self.report(at, message, format!("call it in {}", names.join(" or ")));
        }
        if is_subject && phase == Some(Phases::REQUEST) && matches!(name, "group" | "in_group") {
            let value = if name == "group" { "()" } else { "false" };
            let message = format!(
                "{name} is always {value} in the phase request, which is before the user is known"
            );
            self.warn(at, message, "call it in authorize");
            return;
        }
        let Some(Expr::StringConstant(argument, at)) = call.args.first() else {
            return;
        };
        let is_response = phase == Some(Phases::RESPONSE);
        match name {
            "host_under" => {
                if let Some(why) = api::domain_fault(argument) {
                    self.report(*at, why, "correct the argument");
                }
            }
            "path_under" => {
                if let Some(why) = api::prefix_fault(argument) {
                    self.report(*at, why, "correct the argument");
                }
            }
            "set_header" | "add_header" | "remove_header" => {
                if let Some(why) = api::field_fault(argument, is_response) {
                    self.report(*at, why, "choose another field");
                }
            }
            "pool" => self.pool(argument, *at),
            "via" => self.via(argument, *at),
            "in_group" => self.group(argument, *at),
            _ => {}
        }
    }

    /// A group that no user is in.
    fn group(&mut self, name: &str, at: Position) {
        let Some(groups) = &self.source.groups else {
            return;
        };
        if groups.iter().any(|group| **group == *name) {
            return;
        }
        let remedy = match nearest(name, groups.iter().map(AsRef::as_ref)) {
            Some(near) => format!("did you mean {near:?}?"),
            None if groups.is_empty() => "name a group file in auth.groups".to_owned(),
            None => "add the group to the file of auth.groups".to_owned(),
        };
        self.warn(
            at,
            format!("there is no group {name:?}, and so no user is in it"),
            remedy,
        );
    }

    fn pool(&mut self, name: &str, at: Position) {
        let Some(pools) = &self.source.pools else {
            return;
        };
        if pools.iter().any(|pool| **pool == *name) {
            return;
        }
        let remedy = match nearest(name, pools.iter().map(AsRef::as_ref)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "name a pool of tollgate.gateway.pools".to_owned(),
        };
        self.report(at, format!("there is no pool {name:?}"), remedy);
    }

    fn via(&mut self, name: &str, at: Position) {
        let Some(parents) = &self.source.parents else {
            return;
        };
        if name == "direct" || parents.iter().any(|parent| **parent == *name) {
            return;
        }
        let known = parents.iter().map(AsRef::as_ref);
        let remedy = match nearest(name, known.chain(["direct"])) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "name a parent of tollgate.parents, or direct".to_owned(),
        };
        self.report(at, format!("there is no parent {name:?}"), remedy);
    }
}
