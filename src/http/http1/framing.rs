//! Where a request body ends (RFC 9112 §6, §7.1).
//!
//! [`BodyScanner`] follows a body through the stream and says which bytes belong to
//! it. It keeps no byte and decodes nothing. Pingora decodes, and finds the same
//! end, since only the plain part of the grammar passes here.

use super::{FramingError, is_tchar, is_value_byte};

#[cfg(test)]
mod tests;

/// Bytes of extensions on one chunk, the `;` included.
const MAX_EXTENSION: u32 = 256;

/// Extension bytes of a whole body beyond what its data justifies. Without this
/// limit a body of one-byte chunks costs 260 times its size.
const MAX_EXTENSION_EXCESS: u64 = 16 * 1024;

/// Bytes of the trailer section, line ends included.
const MAX_TRAILERS: u32 = 8 * 1024;

/// More hex digits than this do not fit into 64 bits.
const MAX_SIZE_DIGITS: u32 = 16;

/// How a request body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// This many bytes, at most 2^63 - 1.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
}

/// Follows one body to its end.
#[derive(Clone, Debug)]
pub struct BodyScanner {
    state: State,
    /// Extension bytes that the data does not justify so far.
    extension_excess: u64,
    /// Bytes of the trailer section so far.
    trailers: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// This many bytes up to the end of the body.
    Length(u64),
    /// In the digits of a chunk size.
    Size {
        digits: u32,
        size: u64,
    },
    /// In the extensions of a chunk of this size.
    Extension {
        length: u32,
        size: u64,
    },
    /// The LF of a chunk's first line is due.
    SizeLf {
        size: u64,
    },
    /// This many bytes, above zero, up to the end of the chunk data.
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// The very last LF is due.
    FinalLf,
    Done,
    Failed(FramingError),
}

impl BodyScanner {
    /// A scanner at the first byte behind a head with this framing.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { digits: 0, size: 0 },
        };
        Self {
            state,
            extension_excess: 0,
            trailers: 0,
        }
    }

    /// How many of the first bytes of `buf` belong to the body: all of them unless
    /// it ends within. `buf` begins where the last call ended.
    ///
    /// # Errors
    /// [`FramingError`] at the first byte that breaks the grammar, and again on
    /// every later call. No byte of `buf` may be passed on then.
    pub fn scan(&mut self, buf: &[u8]) -> Result<usize, FramingError> {
        let mut rest = buf;
        while let [first, after @ ..] = rest {
            match &mut self.state {
                State::Length(left) | State::Data(left) => {
                    let take =
                        usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= take as u64;
                    rest = rest.get(take..).unwrap_or_default();
                    match self.state {
                        State::Length(0) => self.state = State::Done,
                        State::Data(0) => self.state = State::DataCr,
                        _ => {}
                    }
                }
                State::Done => break,
                State::Failed(error) => return Err(error.clone()),
                _ => {
                    match self.step(*first) {
                        Ok(next) => self.state = next,
                        Err(error) => {
                            self.state = State::Failed(error.clone());
                            return Err(error);
                        }
                    }
                    rest = after;
                }
            }
        }
        Ok(buf.len() - rest.len())
    }

    /// Whether the body is complete. What follows is another request.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the next byte begins a chunk, which may be the last one.
    pub fn is_before_chunk(&self) -> bool {
        self.state == State::Size { digits: 0, size: 0 }
    }

    /// How many of the next bytes are content in any case: those up to the end of the
    /// body, or of the chunk.
    pub fn data_ahead(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Data(left) => left,
            _ => 0,
        }
    }

    /// One byte of chunked coding that is not data.
    fn step(&mut self, byte: u8) -> Result<State, FramingError> {
        match self.state {
            State::Size { digits, size } => size_byte(digits, size, byte),
            State::Extension { length, size } => match byte {
                b'\r' => {
                    self.charge_extension(length, size)?;
                    Ok(State::SizeLf { size })
                }
                b'\n' => Err(FramingError::LineEnd),
                _ if !is_value_byte(byte) => Err(FramingError::Extension),
                _ if length >= MAX_EXTENSION => Err(FramingError::ExtensionTooLong),
                _ => Ok(State::Extension {
                    length: length + 1,
                    size,
                }),
            },
            State::SizeLf { size } => match (byte, size) {
                (b'\n', 0) => Ok(State::TrailerStart),
                (b'\n', _) => Ok(State::Data(size)),
                _ => Err(FramingError::LineEnd),
            },
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size { digits: 0, size: 0 }),
            State::DataCr | State::DataLf => Err(FramingError::ChunkEnd),
            State::FinalLf if byte == b'\n' => Ok(State::Done),
            State::FinalLf => Err(FramingError::LineEnd),
            _ => self.trailer_byte(byte),
        }
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, FramingError> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            return Err(FramingError::TrailersTooLong);
        }
        match (&self.state, byte) {
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::TrailerLf, _) | (_, b'\n') => Err(FramingError::LineEnd),
            (State::TrailerStart, b'\r') => Ok(State::FinalLf),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) if is_tchar(byte) => {
                Ok(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if is_value_byte(byte) => Ok(State::TrailerValue),
            _ => Err(FramingError::Trailer),
        }
    }

    /// Counts the extension bytes that a chunk of `size` bytes does not justify.
    fn charge_extension(&mut self, length: u32, size: u64) -> Result<(), FramingError> {
        let paid = size.saturating_mul(2).saturating_add(16);
        self.extension_excess = (self.extension_excess + u64::from(length)).saturating_sub(paid);
        if self.extension_excess > MAX_EXTENSION_EXCESS {
            return Err(FramingError::ExtensionTooLong);
        }
        Ok(())
    }
}

/// Whitespace behind the size is refused. RFC 9112 §7.1.1 allows it as bad
/// whitespace, and decoders disagree about it.
fn size_byte(digits: u32, size: u64, byte: u8) -> Result<State, FramingError> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b';' if digits > 0 => return Ok(State::Extension { length: 1, size }),
        b'\r' if digits > 0 => return Ok(State::SizeLf { size }),
        b'\n' if digits > 0 => return Err(FramingError::LineEnd),
        _ => return Err(FramingError::ChunkSize),
    };
    let size = size.checked_mul(16).map(|size| size | u64::from(digit));
    match size.filter(|&size| i64::try_from(size).is_ok()) {
        Some(size) if digits < MAX_SIZE_DIGITS => Ok(State::Size {
            digits: digits + 1,
            size,
        }),
        _ => Err(FramingError::ChunkSizeOverflow),
    }
}
