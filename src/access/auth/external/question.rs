//! What the service is asked, in both forms, and the key by which its answer is kept.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue};
use serde::{Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::http::role::Role;

/// What is asked about one request. Its password and its field value are there only where the service is to get them.
#[derive(Clone, Serialize)]
pub struct Question<'a> {
    /// The id of the request. No answer depends on it.
    #[serde(skip)]
    pub id: &'a str,
    /// The user: authenticated, or as the client says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The address of the client.
    pub client: IpAddr,
    /// The role in which the request is served.
    #[serde(serialize_with = "role")]
    pub role: Role,
    /// The method, in capitals.
    pub method: &'a str,
    /// The scheme of the URL; none for a tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<&'a str>,
    /// Host and port; none at the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'a str>,
    /// The path, where it is in the clear and every server reads it in the same way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// In place of it, each of the ways in which servers may read it.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub paths: &'a [String],
    /// The query, without its `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<&'a str>,
    /// Whether the connection of the client is encrypted.
    pub tls: bool,
    /// The user that the certificate of the client names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<&'a str>,
    /// The groups of an authenticated user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<&'a str>,
    /// The rule that has the service asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    /// The password, or the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<&'a str>,
    /// The target as the log has it.
    #[serde(skip)]
    pub uri: &'a str,
    /// The value of the field with credentials.
    #[serde(skip)]
    pub authorization: Option<&'a [u8]>,
}

/// Why a question cannot be asked.
#[derive(Debug, Error)]
pub enum QuestionError {
    /// A field value cannot have this text, or not with the same meaning.
    #[error("the {0} cannot be the value of a field")]
    Value(&'static str),
    /// It cannot be written: a defect.
    #[error("the question cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Equal for questions with the same answer: a MAC of everything that the service gets but the id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuestionKey([u8; 32]);

impl Question<'_> {
    /// The key, under a secret of the process: without the secret it shows nothing of a password.
    ///
    /// # Errors
    /// [`QuestionError::Json`]
    pub fn key(&self, secret: &[u8; 32]) -> Result<QuestionKey, QuestionError> {
        let mut mac = blake3::Hasher::new_keyed(secret);
        serde_json::to_writer(&mut mac, self)?;
        // JSON has no zero byte, so that the parts cannot run into each other.
        mac.update(b"\0");
        mac.update(self.uri.as_bytes());
        mac.update(b"\0");
        mac.update(self.authorization.unwrap_or_default());
        Ok(QuestionKey(*mac.finalize().as_bytes()))
    }

    /// The content of a POST.
    ///
    /// # Errors
    /// [`QuestionError::Json`]
    pub fn content(&self) -> Result<Zeroizing<Vec<u8>>, QuestionError> {
        #[derive(Serialize)]
        struct Whole<'a> {
            id: &'a str,
            #[serde(flatten)]
            question: &'a Question<'a>,
        }
        // Twice the size of the texts, and more for the names: a vector that grows leaves copies of the password.
        let texts = [self.target, self.path, self.query, self.password, self.user];
        let texts = texts
            .into_iter()
            .flatten()
            .chain(self.paths.iter().map(String::as_str));
        let size = texts.map(|text| text.len() + 3).sum::<usize>();
        let groups: usize = self.groups.iter().map(|group| group.len() + 3).sum();
        let mut content = Zeroizing::new(Vec::with_capacity(512 + 2 * size + groups));
        let whole = Whole {
            id: self.id,
            question: self,
        };
        serde_json::to_writer(&mut *content, &whole)?;
        Ok(content)
    }

    /// The fields of a GET.
    ///
    /// # Errors
    /// [`QuestionError::Value`]
    pub fn fields(&self) -> Result<Vec<(HeaderName, HeaderValue)>, QuestionError> {
        let mut fields = Vec::with_capacity(8);
        let client = self.client.to_string();
        for (name, what, value) in [
            ("x-original-method", "method", Some(self.method)),
            ("x-original-uri", "target", Some(self.uri)),
            ("x-tollgate-user", "name of the user", self.user),
            ("x-tollgate-client", "client", Some(&*client)),
            ("x-tollgate-role", "role", Some(self.role.as_str())),
            ("x-tollgate-rule", "name of the rule", self.rule),
            ("x-request-id", "id", Some(self.id)),
        ] {
            let Some(value) = value else { continue };
            let value = field_value(value).ok_or(QuestionError::Value(what))?;
            fields.push((HeaderName::from_static(name), value));
        }
        if let Some(value) = self.authorization {
            let value = HeaderValue::from_bytes(value);
            let mut value =
                value.map_err(|_invalid| QuestionError::Value("value of the credentials"))?;
            value.set_sensitive(true);
            fields.push((http::header::AUTHORIZATION, value));
        }
        Ok(fields)
    }
}

/// Text as the value of a field, if a reader gets the same text: spaces around a value are not part of it
/// (RFC 9110 §5.5).
fn field_value(text: &str) -> Option<HeaderValue> {
    if text.trim() != text {
        return None;
    }
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

fn role<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(role.as_str())
}

impl fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for QuestionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuestionKey(..)")
    }
}
