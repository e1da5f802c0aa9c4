//! PEM text to blocks (RFC 7468, and the header lines of RFC 1421). Pure.
//!
//! Every block of a file is read or is an error: a certificate that is passed over in silence is an authority
//! that is missing, or one too many. So a line with `-----` is a BEGIN or END line or it is an error, and text
//! between blocks must not look like a damaged block.

pub(super) mod der;
mod foreign;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

pub(super) use self::foreign::{identify, is_other_format};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const DASHES: &[u8] = b"-----";

/// Base64 of DER begins with this where the content has 128 bytes or more.
const BASE64_OF_DER: &[u8] = b"MI";
/// The shortest line outside of blocks that is taken for base64.
const MIN_BASE64_LINE: usize = 60;

/// What is between a BEGIN line and its END line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The line of its BEGIN, counted from 1.
    pub(super) line: usize,
    pub(super) label: Label,
    /// Empty where [`Block::is_encrypted`].
    pub(super) content: Zeroizing<Vec<u8>>,
    /// Whether header lines say that the content is encrypted (RFC 1421), as OpenSSL writes it for keys.
    pub(super) is_encrypted: bool,
}

/// The kinds of block that OpenSSL, OpenSSH and their like write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Certificate,
    TrustedCertificate,
    CertificateRequest,
    RevocationList,
    Pkcs7,
    /// PKCS #8.
    PrivateKey,
    /// PKCS #8.
    EncryptedPrivateKey,
    /// PKCS #1.
    RsaPrivateKey,
    /// SEC 1.
    EcPrivateKey,
    DsaPrivateKey,
    OpensshPrivateKey,
    PublicKey,
    EcParameters,
    DhParameters,
    Other,
}

/// Why a text is not PEM that can be read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PemError {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) problem: PemProblem,
}

/// What is wrong with a line or a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PemProblem {
    #[error("the file is UTF-16, where PEM is ASCII")]
    Utf16,
    #[error("the file is UTF-32, where PEM is ASCII")]
    Utf32,
    #[error("a NUL byte")]
    Nul,
    #[error("a byte order mark that is not at the start of the file")]
    ByteOrderMark,
    #[error("a line with `-----` that is neither a BEGIN line nor an END line")]
    Boundary,
    #[error("the line ends of this PEM block are written as \\n")]
    EscapedLineEnds,
    #[error("a BEGIN or END line with the wrong dashes")]
    WrongDashes,
    #[error("base64 outside of a block: its BEGIN line is missing")]
    MissingBegin,
    #[error("an END line without its BEGIN line")]
    EndAlone,
    #[error("the BEGIN line has no END line: the block is cut off")]
    MissingEnd,
    #[error("the END line names another kind of block than its BEGIN line, line {begin}")]
    OtherEnd { begin: usize },
    #[error("a header line in a block that has none")]
    Header,
    #[error("the block is damaged: this line is not base64")]
    NotBase64,
    #[error("the block is damaged: its base64 is not whole")]
    PartialBase64,
    #[error("the block is empty")]
    Empty,
    #[error("the block is damaged: its content is cut off or is not DER")]
    NotDer,
    #[error("the block has {0} bytes after the end of its content")]
    TrailingBytes(usize),
}

/// A BEGIN or END line.
struct Boundary<'t> {
    begins: bool,
    label: &'t [u8],
}

/// A block whose END line is still to come.
struct Open<'t> {
    line: usize,
    label: &'t [u8],
    base64: Zeroizing<Vec<u8>>,
    is_encrypted: bool,
    has_headers: bool,
}

/// Reads every block of a file. None of them is passed over.
///
/// A byte order mark at the start, each kind of line end, blanks around a line, text between blocks and two
/// boundaries on one line (of two files that were joined) are read.
///
/// # Errors
/// The first line that is not understood.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Block>, PemError> {
    if bytes.starts_with(b"\xff\xfe\0\0") || bytes.starts_with(b"\0\0\xfe\xff") {
        return Err(PemProblem::Utf32.at(1));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(PemProblem::Utf16.at(1));
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut blocks = Vec::new();
    let mut open: Option<Open<'_>> = None;
    for (number, line) in (1..).zip(lines(bytes)) {
        if line.contains(&0) {
            let is_wide = line.windows(4).any(|four| matches!(four, b"-\0-\0"));
            let problem = if is_wide {
                PemProblem::Utf16
            } else {
                PemProblem::Nul
            };
            return Err(problem.at(number));
        }
        let line = line.trim_ascii();
        if !contains(line, DASHES) {
            match &mut open {
                Some(block) => block.take(line).map_err(|problem| problem.at(number))?,
                None => check_text(line).map_err(|problem| problem.at(number))?,
            }
            continue;
        }
        for boundary in boundaries(line).map_err(|problem| problem.at(number))? {
            match (open.take(), boundary.begins) {
                (None, true) => open = Some(Open::new(number, boundary.label)),
                (None, false) => return Err(PemProblem::EndAlone.at(number)),
                (Some(block), true) => return Err(PemProblem::MissingEnd.at(block.line)),
                (Some(block), false) if block.label != boundary.label => {
                    let begin = block.line;
                    return Err(PemProblem::OtherEnd { begin }.at(number));
                }
                (Some(block), false) => blocks.push(block.close()?),
            }
        }
    }
    match open {
        Some(block) => Err(PemProblem::MissingEnd.at(block.line)),
        None => Ok(blocks),
    }
}

/// The lines of a text with the ends of Unix, Windows or old Macs.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            rest = None;
            return Some(text);
        };
        let (line, after) = text.split_at_checked(end)?;
        let after = after
            .strip_prefix(b"\r\n")
            .or_else(|| after.get(1..))
            .unwrap_or_default();
        rest = Some(after);
        Some(line)
    })
}

/// The boundaries on a line that has nothing else.
fn boundaries(line: &[u8]) -> Result<Vec<Boundary<'_>>, PemProblem> {
    let problem = if contains(line, BYTE_ORDER_MARK) {
        PemProblem::ByteOrderMark
    } else if contains(line, b"\\n") {
        PemProblem::EscapedLineEnds
    } else {
        PemProblem::Boundary
    };
    let mut found = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (begins, after) = match (
            rest.strip_prefix(b"-----BEGIN "),
            rest.strip_prefix(b"-----END "),
        ) {
            (Some(after), _) => (true, after),
            (None, Some(after)) => (false, after),
            (None, None) => return Err(problem),
        };
        let end = after.windows(DASHES.len()).position(|five| five == DASHES);
        let (label, after) = end
            .and_then(|end| after.split_at_checked(end))
            .ok_or(problem)?;
        let is_label = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'-';
        if label.is_empty() || !label.iter().all(is_label) {
            return Err(problem);
        }
        found.push(Boundary { begins, label });
        rest = after
            .strip_prefix(DASHES)
            .unwrap_or_default()
            .trim_ascii_start();
    }
    Ok(found)
}

/// Lets text between blocks pass that does not look like a part of one.
fn check_text(line: &[u8]) -> Result<(), PemProblem> {
    if line.starts_with(BASE64_OF_DER) && line.len() >= MIN_BASE64_LINE && is_base64(line) {
        return Err(PemProblem::MissingBegin);
    }
    // Dashes of a word processor, too few of them, or those of SSH2: `---- BEGIN SSH2 PUBLIC KEY ----`.
    let text = String::from_utf8_lossy(line);
    let is_dash = |c: char| {
        matches!(
            c,
            '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{ff0d}'
        )
    };
    let inner = text.trim_start_matches(is_dash);
    let word = inner.trim_start().split(' ').next().unwrap_or_default();
    let is_boundary = inner.len() < text.len()
        && ["BEGIN", "END"]
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name))
        && text.ends_with(is_dash);
    if is_boundary {
        return Err(PemProblem::WrongDashes);
    }
    Ok(())
}

fn is_base64(line: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    line.iter().all(is_digit)
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(line, part).is_some()
}

impl PemProblem {
    fn at(self, line: usize) -> PemError {
        PemError {
            line,
            problem: self,
        }
    }

    /// What to do about it. `file` is the name of the file as a shell takes it.
    pub(super) fn remedy(self, file: &str) -> String {
        match self {
            PemProblem::Utf16 => {
                format!("convert it with `iconv -f UTF-16 -t UTF-8 {file} > NEWFILE`")
            }
            PemProblem::Utf32 => {
                format!("convert it with `iconv -f UTF-32 -t UTF-8 {file} > NEWFILE`")
            }
            PemProblem::Nul => {
                "copy the file again: it is damaged, or it is not a PEM file".to_owned()
            }
            PemProblem::ByteOrderMark => {
                "remove the invisible character U+FEFF at the start of the line".to_owned()
            }
            PemProblem::Boundary => "write BEGIN and END lines such as \
                `-----BEGIN CERTIFICATE-----`, with nothing else on the line, and remove other lines with `-----`"
                .to_owned(),
            PemProblem::EscapedLineEnds => {
                format!("write them out with `printf '%b\\n' \"$(cat {file})\" > NEWFILE`")
            }
            PemProblem::WrongDashes => {
                "write five ASCII dashes before and after the words, and no space between".to_owned()
            }
            PemProblem::MissingBegin => {
                "add the BEGIN line, such as `-----BEGIN CERTIFICATE-----`, or copy the file again".to_owned()
            }
            PemProblem::EndAlone => {
                "add the BEGIN line, or copy the file again: its start is missing".to_owned()
            }
            PemProblem::MissingEnd => {
                "add the END line, such as `-----END CERTIFICATE-----`, or copy the file again".to_owned()
            }
            PemProblem::OtherEnd { .. } => {
                "copy the file again: a part between the two lines is missing".to_owned()
            }
            PemProblem::Header => "remove the line and the empty line after it".to_owned(),
            PemProblem::NotBase64
            | PemProblem::PartialBase64
            | PemProblem::Empty
            | PemProblem::NotDer
            | PemProblem::TrailingBytes(_) => "copy the file again from where it was made".to_owned(),
        }
    }
}

impl<'t> Open<'t> {
    fn new(line: usize, label: &'t [u8]) -> Open<'t> {
        Open {
            line,
            label,
            base64: Zeroizing::default(),
            is_encrypted: false,
            has_headers: false,
        }
    }

    /// Takes a line of the block.
    fn take(&mut self, line: &[u8]) -> Result<(), PemProblem> {
        if self.base64.is_empty() && line.contains(&b':') {
            let names_encryption = |name: &[u8]| line.starts_with(name);
            let is_known = names_encryption(b"Proc-Type:") || names_encryption(b"DEK-Info:");
            if !is_known {
                return Err(PemProblem::Header);
            }
            self.has_headers = true;
            self.is_encrypted |= contains(line, b"ENCRYPTED");
            return Ok(());
        }
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        if !line
            .iter()
            .all(|byte| is_base64(&[*byte]) || is_blank(byte))
        {
            return Err(PemProblem::NotBase64);
        }
        self.base64
            .extend(line.iter().copied().filter(|byte| !is_blank(byte)));
        Ok(())
    }

    fn close(self) -> Result<Block, PemError> {
        let label = Label::of(self.label);
        let failed = |problem: PemProblem| problem.at(self.line);
        if self.has_headers && !self.is_encrypted {
            return Err(failed(PemProblem::Header));
        }
        if self.base64.is_empty() {
            return Err(failed(PemProblem::Empty));
        }
        let content = STANDARD
            .decode(&self.base64)
            .map(Zeroizing::new)
            .or(Err(failed(PemProblem::PartialBase64)))?;
        // What is encrypted that way has no form of its own.
        if !self.is_encrypted && label.is_der() {
            match der::element(&content) {
                Some((_, _, [])) => {}
                Some((_, _, rest)) if label != Label::TrustedCertificate => {
                    return Err(failed(PemProblem::TrailingBytes(rest.len())));
                }
                Some(_) => {}
                None => return Err(failed(PemProblem::NotDer)),
            }
        }
        Ok(Block {
            line: self.line,
            label,
            content: if self.is_encrypted {
                Zeroizing::default()
            } else {
                content
            },
            is_encrypted: self.is_encrypted,
        })
    }
}

impl Label {
    fn of(label: &[u8]) -> Label {
        match label {
            // The second is OpenSSL's old name for the same content.
            b"CERTIFICATE" | b"X509 CERTIFICATE" => Label::Certificate,
            b"TRUSTED CERTIFICATE" => Label::TrustedCertificate,
            b"CERTIFICATE REQUEST" | b"NEW CERTIFICATE REQUEST" => Label::CertificateRequest,
            b"X509 CRL" => Label::RevocationList,
            b"PKCS7" | b"PKCS #7 SIGNED DATA" | b"CMS" => Label::Pkcs7,
            b"PRIVATE KEY" => Label::PrivateKey,
            b"ENCRYPTED PRIVATE KEY" => Label::EncryptedPrivateKey,
            b"RSA PRIVATE KEY" => Label::RsaPrivateKey,
            b"EC PRIVATE KEY" => Label::EcPrivateKey,
            b"DSA PRIVATE KEY" => Label::DsaPrivateKey,
            b"OPENSSH PRIVATE KEY" => Label::OpensshPrivateKey,
            b"PUBLIC KEY" | b"RSA PUBLIC KEY" | b"EC PUBLIC KEY" | b"DSA PUBLIC KEY" => {
                Label::PublicKey
            }
            b"EC PARAMETERS" => Label::EcParameters,
            b"DH PARAMETERS" | b"X9.42 DH PARAMETERS" | b"DSA PARAMETERS" => Label::DhParameters,
            _ => Label::Other,
        }
    }

    /// Whether the content has to be one element of DER.
    fn is_der(self) -> bool {
        !matches!(self, Label::OpensshPrivateKey | Label::Other)
    }

    /// What stands in such a block.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Label::Certificate => "a certificate",
            Label::TrustedCertificate => {
                "a certificate with trust settings of OpenSSL (BEGIN TRUSTED CERTIFICATE)"
            }
            Label::CertificateRequest => "a certificate request",
            Label::RevocationList => "a revocation list (CRL)",
            Label::Pkcs7 => "PKCS #7",
            Label::PublicKey => "a public key",
            Label::EcParameters => "the parameters of a curve",
            Label::DhParameters => "parameters of Diffie-Hellman or DSA",
            Label::Other => "a block of an unknown kind",
            _ => "a private key",
        }
    }

    /// Whether a private key is in it, in whatever form.
    pub(super) fn is_private_key(self) -> bool {
        matches!(
            self,
            Label::PrivateKey
                | Label::EncryptedPrivateKey
                | Label::RsaPrivateKey
                | Label::EcPrivateKey
                | Label::DsaPrivateKey
                | Label::OpensshPrivateKey
        )
    }
}
