//! Decodes text files: bytes to text, or the error in the bytes. Pure.
//!
//! Every text file of a configuration is decoded here, so that byte order marks, line ends and encodings are
//! treated alike. Nothing is guessed: ambiguous bytes are an error with a line and a remedy.

use std::fmt;
use std::io;

use memchr::memmem;
use memchr::{memchr, memchr_iter};

#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
pub mod nearest;
pub(crate) mod units;

/// The byte order mark of UTF-8, which editors on Windows write at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The bytes of a file that are examined for an encoding with NUL bytes.
const SAMPLE: usize = 512;

/// Why bytes are not a usable text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TextError {
    /// The line, counted from 1; `None` for the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: TextProblem,
}

/// What is wrong with the bytes of a text file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextProblem {
    /// Saved as "Unicode" by an editor on Windows, or by a PowerShell redirection.
    OtherUnicode(Encoding),
    /// A compressed file.
    Compressed(Compression),
    /// A NUL byte: the file is damaged, or is not text.
    Nul,
    /// Carriage returns without any line feed: the line ends of old Macs.
    OldMac,
    /// A carriage return that is not followed by a line feed.
    CarriageReturn,
    /// A byte order mark that is not at the start: files with one were concatenated.
    ByteOrderMark,
    /// Most likely Latin-1 or Windows-1252.
    NotUtf8,
    /// Not text in any encoding: a program, a picture, DER.
    Binary,
}

/// An encoding of Unicode that is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-16 with a byte order mark.
    Utf16,
    /// UTF-16, little endian, without a byte order mark.
    Utf16Le,
    /// UTF-16, big endian, without a byte order mark.
    Utf16Be,
    /// UTF-32 with a byte order mark.
    Utf32,
}

/// A format of compressed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// bzip2.
    Bzip2,
    /// A ZIP archive.
    Zip,
}

impl TextProblem {
    /// The remedy, with a command to type where there is one.
    #[must_use]
    pub fn remedy(self) -> String {
        match self {
            TextProblem::OtherUnicode(encoding) => {
                let name = encoding.name();
                format!(
                    "save it as UTF-8, for example with `iconv -f {name} -t UTF-8 FILE > NEWFILE`"
                )
            }
            TextProblem::Compressed(format) => {
                format!("unpack it, for example with `{}`", format.command())
            }
            TextProblem::Nul => {
                "remove it, or restore the file from a copy: it is damaged or not a text file"
                    .to_owned()
            }
            TextProblem::OldMac => {
                "end each line with LF, for example with `tr '\\r' '\\n' < FILE > NEWFILE`"
                    .to_owned()
            }
            TextProblem::CarriageReturn => {
                "remove it: a line ends with LF or with CR and LF".to_owned()
            }
            TextProblem::ByteOrderMark => {
                "remove the invisible character U+FEFF: it may be at the start of the file only"
                    .to_owned()
            }
            TextProblem::Binary => "name a text file, or restore the file from a copy".to_owned(),
            TextProblem::NotUtf8 => "save the file as UTF-8, for example with \
                `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEWFILE`"
                .to_owned(),
        }
    }
}

impl fmt::Display for TextProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextProblem::OtherUnicode(Encoding::Utf32) => {
                f.write_str("the file is UTF-32, where UTF-8 is expected")
            }
            TextProblem::OtherUnicode(_) => {
                f.write_str("the file is UTF-16, where UTF-8 is expected")
            }
            TextProblem::Compressed(format) => {
                write!(f, "the file is compressed ({})", format.name())
            }
            TextProblem::Nul => f.write_str("a NUL byte"),
            TextProblem::OldMac => f.write_str("the lines end with CR alone, as on old Macs"),
            TextProblem::CarriageReturn => {
                f.write_str("a carriage return (CR) without a line feed (LF) after it")
            }
            TextProblem::ByteOrderMark => {
                f.write_str("a byte order mark that is not at the start of the file")
            }
            TextProblem::NotUtf8 => f.write_str("not UTF-8"),
            TextProblem::Binary => f.write_str("the file is binary, where text is expected"),
        }
    }
}

impl Encoding {
    /// The name for iconv.
    fn name(self) -> &'static str {
        match self {
            Encoding::Utf16 => "UTF-16",
            Encoding::Utf16Le => "UTF-16LE",
            Encoding::Utf16Be => "UTF-16BE",
            Encoding::Utf32 => "UTF-32",
        }
    }
}

impl Compression {
    /// Detects a format by its first bytes.
    fn of(bytes: &[u8]) -> Option<Compression> {
        let known: [(&[u8], Compression); 5] = [
            (b"\x1f\x8b", Compression::Gzip),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
            (b"BZh", Compression::Bzip2),
            (b"PK\x03\x04", Compression::Zip),
        ];
        let found = known.iter().find(|(start, _)| bytes.starts_with(start));
        found.map(|(_, format)| *format)
    }

    fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
            Compression::Bzip2 => "bzip2",
            Compression::Zip => "zip",
        }
    }

    fn command(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip -dc FILE > NEWFILE",
            Compression::Xz => "xz -dc FILE > NEWFILE",
            Compression::Zstd => "zstd -dc FILE > NEWFILE",
            Compression::Bzip2 => "bzip2 -dc FILE > NEWFILE",
            Compression::Zip => "unzip -p FILE > NEWFILE",
        }
    }
}

/// The text in the bytes of a file, without a byte order mark; its lines end with LF.
///
/// CRLF becomes LF. The last line needs no end.
///
/// # Errors
/// The first error, as of [`check`].
pub fn decode(bytes: Vec<u8>) -> Result<String, TextError> {
    let text = check(&bytes)?;
    if memchr(b'\r', text.as_bytes()).is_some() {
        return Ok(text.replace("\r\n", "\n"));
    }
    let mark = bytes.len() - text.len();
    let mut bytes = bytes;
    bytes.drain(..mark);
    String::from_utf8(bytes).map_err(|error| not_utf8(error.as_bytes(), error.utf8_error()))
}

/// The text in the bytes of a file, unchanged except for a byte order mark at the start.
///
/// # Errors
/// The first error: see [`TextProblem`].
pub fn check(bytes: &[u8]) -> Result<&str, TextError> {
    let whole = |problem| TextError {
        line: None,
        problem,
    };
    if let Some(encoding) = other_unicode(bytes) {
        return Err(whole(TextProblem::OtherUnicode(encoding)));
    }
    let rest = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = match std::str::from_utf8(rest) {
        // The start of a compressed file can be text, but not all of it.
        Ok(text) if memchr(0, rest).is_none() => text,
        outcome => {
            if let Some(format) = Compression::of(rest) {
                return Err(whole(TextProblem::Compressed(format)));
            }
            if outcome.is_err() && is_binary(rest) {
                return Err(whole(TextProblem::Binary));
            }
            let nul = memchr(0, rest);
            let valid = outcome.err().map(|error| (error.valid_up_to(), error));
            return Err(match (nul, valid) {
                (Some(at), Some((valid, _))) if at < valid => at_line(rest, at, TextProblem::Nul),
                (_, Some((_, error))) => not_utf8(rest, error),
                (at, None) => at_line(rest, at.unwrap_or_default(), TextProblem::Nul),
            });
        }
    };
    if let Some(at) = lone_carriage_return(rest) {
        return Err(if memchr(b'\n', rest).is_none() {
            whole(TextProblem::OldMac)
        } else {
            at_line(rest, at, TextProblem::CarriageReturn)
        });
    }
    if let Some(at) = memmem::find(rest, BYTE_ORDER_MARK) {
        return Err(at_line(rest, at, TextProblem::ByteOrderMark));
    }
    Ok(text)
}

/// A number with a noun: `1 user`, `2 users`.
#[must_use]
pub fn count(number: impl fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    match (number.as_str(), noun.strip_suffix('y')) {
        ("1", _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {noun}s"),
    }
}

/// The message of an operating-system error, without its number.
#[must_use]
pub fn system_message(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((message, _)) => message.to_lowercase(),
        None => text,
    }
}

/// A chain of errors without the numbers of operating-system errors.
#[must_use]
pub fn without_numbers(chain: &str) -> String {
    let mut parts = chain.split(" (os error ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.parse::<i32>().is_ok() => text.push_str(rest),
            _ => {
                text.push_str(" (os error ");
                text.push_str(part);
            }
        }
    }
    text
}

/// Whether a character is invisible, or white space other than a space: names that look the same must be the same.
///
/// Space, tab and other ASCII control characters are not included.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    match c {
        '\0'..='~' => false,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => {
            true
        }
        '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => true,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => c.is_whitespace(),
    }
}

/// Whether a character is typographic punctuation, such as a curved quote, a long dash or an ideographic comma:
/// never part of a host name, although IDNA 2003 accepts some.
#[must_use]
pub fn is_typographic(c: char) -> bool {
    matches!(
        c,
        '\u{a1}' | '\u{a6}'..='\u{a9}' | '\u{ab}' | '\u{ac}' | '\u{ae}' | '\u{b4}' | '\u{b6}' | '\u{bb}' | '\u{bf}'
            | '\u{60c}' | '\u{61b}' | '\u{61f}' | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}'
            | '\u{3001}' | '\u{3003}' | '\u{3008}'..='\u{301f}'
            | '\u{ff0c}' | '\u{ff1a}' | '\u{ff1b}'
    )
}

/// Detects UTF-16 and UTF-32 by a byte order mark, or by NULs at only the even or only the odd positions.
fn other_unicode(bytes: &[u8]) -> Option<Encoding> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some(Encoding::Utf32),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some(Encoding::Utf16),
        _ => {}
    }
    let sample = bytes.get(..SAMPLE).unwrap_or(bytes);
    let (mut even, mut odd) = (0, 0);
    for at in memchr_iter(0, sample) {
        *(if at % 2 == 0 { &mut even } else { &mut odd }) += 1;
    }
    // Such files are nearly all ASCII, of which half of the bytes are NUL.
    let many = (sample.len() * 3).div_ceil(8).max(1);
    match (even, odd) {
        (0, odd) if odd >= many => Some(Encoding::Utf16Le),
        (even, 0) if even >= many && sample.len() > 1 => Some(Encoding::Utf16Be),
        _ => None,
    }
}

/// Whether there are control characters at the start that no text has. NUL, which may come from damage, is a
/// separate error.
fn is_binary(bytes: &[u8]) -> bool {
    let sample = bytes.get(..SAMPLE).unwrap_or(bytes);
    let is_control = |byte: &u8| matches!(byte, 1..=7 | 0x0e..=0x19 | 0x1c..=0x1f);
    sample.iter().any(is_control)
}

fn lone_carriage_return(bytes: &[u8]) -> Option<usize> {
    memchr_iter(b'\r', bytes).find(|at| bytes.get(at + 1) != Some(&b'\n'))
}

fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> TextError {
    at_line(bytes, error.valid_up_to(), TextProblem::NotUtf8)
}

fn at_line(bytes: &[u8], at: usize, problem: TextProblem) -> TextError {
    let before = bytes.get(..at).unwrap_or(bytes);
    TextError {
        line: Some(1 + memchr_iter(b'\n', before).count()),
        problem,
    }
}

#[cfg(test)]
pub(crate) mod reference;
#[cfg(test)]
mod tests;
