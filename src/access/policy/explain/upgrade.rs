//! How a request is sent, where the rule that decides has `upgrade`.

use std::fmt;

use serde::Serialize;

use crate::access::policy::Upgrade;

/// How a request is sent. No value of a field is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedUpgrade {
    /// The target, over TLS.
    pub target: String,
    /// The fields that are written.
    pub fields: Vec<ExplainedField>,
}

/// A field that is written into a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedField {
    /// Its name.
    pub name: String,
    /// The secret that its value is made of.
    pub secret: String,
}

impl ExplainedUpgrade {
    pub(super) fn new(target: &str, upgrade: &Upgrade) -> Self {
        let fields = upgrade.fields().iter().map(|field| ExplainedField {
            name: field.name().to_string(),
            secret: field.secret().to_owned(),
        });
        Self {
            target: target.to_owned(),
            fields: fields.collect(),
        }
    }
}

impl fmt::Display for ExplainedUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sent over TLS to {}", self.target)?;
        for ExplainedField { name, secret } in &self.fields {
            write!(f, ", with {name} from the secret {secret}")?;
        }
        Ok(())
    }
}
