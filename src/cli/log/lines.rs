//! The lines of a log: from a file or a stream, in bounded memory, and on while the file grows and is rotated.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::entry::Entry;
use super::filter::ended;

/// What is read at once.
const BUFFER: usize = 1 << 20;
/// A longer line is no record: those have less than 32 KiB, and syslog adds little.
const MAX_LINE: usize = 64 << 10;
/// A part of a file that is searched no further for the first record of a time.
const SEARCH: u64 = 256 << 10;
/// Records are written in the order of their ends, about.
const DISORDER: chrono::Duration = chrono::Duration::seconds(60);

/// A line, or that there was one that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Bytes(&'a [u8]),
    TooLong,
}

/// Cuts what is read into lines.
pub(super) struct Lines {
    buffer: Box<[u8]>,
    filled: usize,
    /// The end of a line that is too long is awaited.
    is_skipping: bool,
}

impl Lines {
    pub(super) fn new() -> Lines {
        Lines {
            buffer: vec![0; BUFFER].into(),
            filled: 0,
            is_skipping: false,
        }
    }

    /// Reads once, and hands over the lines that are complete. Returns whether there was anything to read.
    pub(super) fn read<E: From<io::Error>>(
        &mut self,
        source: &mut impl Read,
        mut each: impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let read = loop {
            match source.read(free) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        let filled = self.filled + read;
        let bytes = self.buffer.get(..filled).unwrap_or_default();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = bytes.get(start..end).unwrap_or_default();
            start = end + 1;
            if !std::mem::take(&mut self.is_skipping) {
                each(Line::of(line))?;
            }
        }
        self.buffer.copy_within(start..filled, 0);
        self.filled = filled - start;
        if self.is_skipping {
            self.filled = 0;
        } else if self.filled > MAX_LINE {
            each(Line::TooLong)?;
            self.is_skipping = true;
            self.filled = 0;
        }
        Ok(read > 0)
    }

    /// Hands over the line that has no end, if there is one.
    pub(super) fn finish<E>(
        &mut self,
        mut each: impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let rest = self.buffer.get(..self.filled).unwrap_or_default();
        if !rest.is_empty() {
            each(Line::of(rest))?;
        }
        self.filled = 0;
        self.is_skipping = false;
        Ok(())
    }
}

impl<'a> Line<'a> {
    fn of(line: &'a [u8]) -> Line<'a> {
        match line.len() {
            0..=MAX_LINE => Line::Bytes(line),
            _ => Line::TooLong,
        }
    }
}

/// What became of a file that is followed.
#[derive(Debug)]
pub(super) enum Turn {
    /// It may grow.
    Same,
    /// It was emptied, and is read from its start.
    Truncated,
    /// Another one has its name. The one from before is complete.
    Next(File),
}

/// Looks whether the file at the path is still this one.
pub(super) fn turn(path: &Path, file: &mut File) -> io::Result<Turn> {
    let own = file.metadata()?;
    let named = match fs::metadata(path) {
        // It was renamed, and the next one is not there yet.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Turn::Same),
        named => named?,
    };
    if (named.dev(), named.ino()) != (own.dev(), own.ino()) {
        return match File::open(path) {
            Ok(next) => Ok(Turn::Next(next)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Turn::Same),
            Err(error) => Err(error),
        };
    }
    // A pipe has neither a length nor a position.
    if own.is_file() && file.stream_position()? > own.len() {
        file.seek(SeekFrom::Start(0))?;
        return Ok(Turn::Truncated);
    }
    Ok(Turn::Same)
}

/// Goes to the last lines of a file, so many at most.
pub(super) fn seek_last(file: &mut File, lines: usize) -> io::Result<()> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(BUFFER as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    let mut tail = Read::take(&*file, BUFFER as u64);
    tail.read_to_end(&mut bytes)?;
    let last = bytes.len().saturating_sub(1);
    // The end of the last line begins none.
    let before = bytes.get(..last).unwrap_or_default();
    let start = memchr::memrchr_iter(b'\n', before).nth(lines.saturating_sub(1));
    let start = match start {
        Some(end) => end + 1,
        None if from == 0 => 0,
        // The first of them may be a part of a line.
        None => memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |end| end + 1),
    };
    file.seek(SeekFrom::Start(from + start as u64))?;
    Ok(())
}

/// Goes to a line before the first one that was written at a time or later. What is not passed over is filtered.
pub(super) fn seek_time(file: &mut File, since: DateTime<Utc>) -> io::Result<()> {
    let (mut low, mut high) = (0, file.metadata()?.len());
    let mut bytes = vec![0; 2 * MAX_LINE];
    while high - low > SEARCH {
        let middle = low + (high - low) / 2;
        file.seek(SeekFrom::Start(middle))?;
        let read = read_full(file, &mut bytes)?;
        let part = bytes.get(..read).unwrap_or_default();
        // The first one is a part of a line.
        let mut lines = part.split(|byte| *byte == b'\n').skip(1);
        let entry = lines.find_map(|line| Entry::part(line).and_then(Entry::read));
        let end = entry.as_ref().and_then(ended);
        match end.and_then(|end| end.checked_add_signed(DISORDER)) {
            Some(end) if end < since => low = middle,
            _ => high = middle,
        }
    }
    file.seek(SeekFrom::Start(low))?;
    if low > 0 {
        let read = read_full(file, &mut bytes)?;
        let part = bytes.get(..read).unwrap_or_default();
        let start = memchr::memchr(b'\n', part).map_or(0, |end| end + 1);
        file.seek(SeekFrom::Start(low + start as u64))?;
    }
    Ok(())
}

fn read_full(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = bytes.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read(free) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
