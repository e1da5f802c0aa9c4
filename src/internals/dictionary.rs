//! Dictionaries in libFuzzer's format: a word in quotes on each line, with `\\`, `\"` and `\xAB`.

/// The words of a dictionary.
///
/// # Errors
/// The number of the first line that is not a word, a comment or blank.
pub(super) fn parse(text: &str) -> Result<Vec<Vec<u8>>, usize> {
    let mut words = Vec::new();
    for (number, line) in (1_usize..).zip(text.lines()) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            words.push(word(line).ok_or(number)?);
        }
    }
    Ok(words)
}

fn word(line: &str) -> Option<Vec<u8>> {
    let mut rest = line.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let mut word = Vec::new();
    while let [first, after @ ..] = rest {
        let (byte, behind) = match (first, after) {
            (b'\\', [escaped @ (b'\\' | b'"'), behind @ ..]) => (*escaped, behind),
            (b'\\', [b'x', high, low, behind @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let value = digit(high)? * 16 + digit(low)?;
                (u8::try_from(value).ok()?, behind)
            }
            (b'\\' | b'"', _) => return None,
            (byte, behind) => (*byte, behind),
        };
        word.push(byte);
        rest = behind;
    }
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_errors() {
        let text = "# a comment\n\n\"GET\"\n  \"\\\"\\\\\\x0D\\x0a\"\n";
        assert_eq!(parse(text), Ok(vec![b"GET".to_vec(), b"\"\\\r\n".to_vec()]));
        for line in ["GET", "\"", "\"\"", "\"\\n\"", "\"\\x1\"", "\"a\"b\""] {
            assert_eq!(parse(&format!("\"a\"\n{line}")), Err(2), "{line}");
        }
    }
}
