//! The user that the certificate of a client names. Pure: the certificate is verified elsewhere.
//!
//! Strict, since what is not clear must not decide who a client is: exactly one name of the configured kind, and that is
//! a user name.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::credentials::{User, UserError};

/// Which name of a certificate is the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name of the subject.
    CommonName,
    /// The DNS name in `subjectAltName`.
    Dns,
    /// The e-mail address in `subjectAltName`.
    Email,
    /// The URI in `subjectAltName`, as SPIFFE has it.
    Uri,
}

/// Whether a certificate is enough to be its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateLogin {
    /// It is.
    Alone,
    /// The client sends the credentials of the same user too.
    WithPassword,
}

/// Why a certificate names no user. Displays as a clause about it, without anything that is in the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateNameError {
    /// Its names cannot be read.
    #[error("has names that cannot be read")]
    Unreadable,
    /// It has no such name.
    #[error("has no {}", .0.noun())]
    None(CertificateName),
    /// It has several.
    #[error("has more than one {}", .0.noun())]
    Several(CertificateName),
    /// The one that it has is a pattern.
    #[error("has a DNS name with a wildcard")]
    Wildcard,
    /// The one that it has is none of a user.
    #[error("has a {} that cannot be a user: {source}", .name.noun())]
    User {
        /// Which name.
        name: CertificateName,
        /// What is wrong with it.
        source: UserError,
    },
}

impl CertificateName {
    /// In words.
    const fn noun(self) -> &'static str {
        match self {
            Self::CommonName => "common name",
            Self::Dns => "DNS name in subjectAltName",
            Self::Email => "e-mail address in subjectAltName",
            Self::Uri => "URI in subjectAltName",
        }
    }

    /// The user of a certificate in DER.
    ///
    /// # Errors
    /// It names none, or more than one.
    pub fn user_of(self, certificate: &[u8]) -> Result<User, CertificateNameError> {
        let parsed = X509Certificate::from_der(certificate);
        let Ok((_, parsed)) = parsed else {
            return Err(CertificateNameError::Unreadable);
        };
        let unreadable = CertificateNameError::Unreadable;
        let names: Vec<&str> = if self == Self::CommonName {
            let names = parsed.subject().iter_common_name();
            let names: Result<_, _> = names.map(|name| name.as_str()).collect();
            names.map_err(|_error| unreadable)?
        } else {
            let names = parsed.subject_alternative_name();
            let names = names.map_err(|_error| unreadable)?;
            let names = names.iter().flat_map(|it| &it.value.general_names);
            names.filter_map(|name| self.text(name)).collect()
        };
        let name = match names.as_slice() {
            [] => return Err(CertificateNameError::None(self)),
            [name] => *name,
            _ => return Err(CertificateNameError::Several(self)),
        };
        if self == Self::Dns && name.contains('*') {
            return Err(CertificateNameError::Wildcard);
        }
        User::of_token(name).map_err(|source| CertificateNameError::User { name: self, source })
    }

    fn text<'a>(self, name: &GeneralName<'a>) -> Option<&'a str> {
        match (self, name) {
            (Self::Dns, GeneralName::DNSName(text))
            | (Self::Email, GeneralName::RFC822Name(text))
            | (Self::Uri, GeneralName::URI(text)) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn certificate(common_names: &[&str], names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common_names {
            let value = DnValue::Utf8String((*name).to_owned());
            params.distinguished_name.push(DnType::CommonName, value);
        }
        params.subject_alt_names = names;
        let made = params.self_signed(&KeyPair::generate().unwrap());
        made.unwrap().der().to_vec()
    }

    fn ia5(text: &str) -> Ia5String {
        text.try_into().unwrap()
    }

    #[test]
    fn exactly_one_name_of_the_kind_is_the_user() {
        let names = vec![
            SanType::DnsName(ia5("host.test")),
            SanType::Rfc822Name(ia5("ann@mail.test")),
            SanType::URI(ia5("spiffe://mesh.test/ns/ci/sa/build")),
        ];
        let one = certificate(&["ann"], names.clone());
        for (name, expected) in [
            (CertificateName::CommonName, "ann"),
            (CertificateName::Dns, "host.test"),
            (CertificateName::Email, "ann@mail.test"),
            (CertificateName::Uri, "spiffe://mesh.test/ns/ci/sa/build"),
        ] {
            assert_eq!(name.user_of(&one).unwrap().as_str(), expected);
            let none = name.user_of(&certificate(&[], vec![]));
            assert_eq!(none, Err(CertificateNameError::None(name)));
        }
        let twice = certificate(&[], [names.clone(), names].concat());
        for name in [
            CertificateName::Dns,
            CertificateName::Email,
            CertificateName::Uri,
        ] {
            let several = Err(CertificateNameError::Several(name));
            assert_eq!(name.user_of(&twice), several);
        }
    }

    #[test]
    fn what_is_no_user_name_is_none() {
        for (text, source) in [
            ("", UserError::Empty),
            ("a\nb", UserError::ControlCharacter),
            ("a\0b", UserError::ControlCharacter),
            (" ann", UserError::ControlCharacter),
            ("ann\u{200b}", UserError::ControlCharacter),
            (&"x".repeat(256), UserError::TooLong),
        ] {
            let name = CertificateName::CommonName;
            let found = name.user_of(&certificate(&[text], vec![]));
            assert_eq!(found, Err(CertificateNameError::User { name, source }));
        }
        let wide = certificate(&[], vec![SanType::DnsName(ia5("*.host.test"))]);
        let found = CertificateName::Dns.user_of(&wide);
        assert_eq!(found, Err(CertificateNameError::Wildcard));
    }

    proptest! {
        /// No bytes have the parser panic, and whatever it takes is a user name.
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let mut damaged = certificate(&["ann"], vec![SanType::DnsName(ia5("host.test"))]);
            let place = at.index(damaged.len());
            damaged[place] = byte;
            for der in [&bytes, &damaged] {
                for name in [CertificateName::CommonName, CertificateName::Dns, CertificateName::Uri] {
                    if let Ok(user) = name.user_of(der) {
                        prop_assert!(User::of_token(user.as_str()).is_ok());
                    }
                }
            }
        }
    }
}
