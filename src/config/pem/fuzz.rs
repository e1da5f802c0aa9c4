//! Invariants of PEM files, for the fuzz target.

use super::{BYTE_ORDER_MARK, identify, is_other_format, parse};
use crate::text::fuzz::shape;

/// Reads `data` as PEM.
///
/// Each BEGIN line of an accepted file is a block, and the blocks do not depend on line ends. A file that is
/// joined with itself has each block twice. Errors name lines that exist.
///
/// # Panics
/// An invariant does not hold.
pub fn pem(data: &[u8]) -> String {
    let shown = data.escape_ascii();
    let (message, remedy) = identify(data, "FILE");
    let printed = format!("{message}; {remedy}");
    assert!(!printed.contains(char::is_control), "{printed:?}");
    let breaks = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r'));
    let lines = breaks.count() + 1;
    match parse(data) {
        Err(error) => {
            assert!((1..=lines).contains(&error.line), "{error:?}: {shown}");
            let remedy = error.problem.remedy("FILE");
            assert!(!remedy.contains(char::is_control), "{remedy}");
            let is_other = is_other_format(data, error);
            format!("{} {is_other}", shape(&error.problem))
        }
        Ok(blocks) => {
            let begins = memchr::memmem::find_iter(data, b"-----BEGIN ").count();
            assert_eq!(blocks.len(), begins, "{shown}");
            assert!(blocks.is_sorted_by_key(|block| block.line), "{shown}");
            assert!(blocks.iter().all(|block| block.line <= lines), "{shown}");
            let rest = data.strip_prefix(BYTE_ORDER_MARK).unwrap_or(data);
            if !data.contains(&b'\r') {
                let windows: Vec<_> = data
                    .iter()
                    .flat_map(|byte| match byte {
                        b'\n' => b"\r\n".to_vec(),
                        byte => vec![*byte],
                    })
                    .collect();
                assert_eq!(parse(&windows).as_ref(), Ok(&blocks), "{shown}");
            }
            let joined = parse(&[data, b"\n", rest].concat());
            let twice = joined.as_ref().map(Vec::len);
            assert_eq!(twice, Ok(2 * blocks.len()), "{shown}");
            let first = blocks.first();
            let first = first.map(|block| (block.label, block.is_encrypted));
            format!("{} {first:?}", blocks.len().min(3))
        }
    }
}
