//! Bodies of any size that need no memory: bytes that depend on their offset, and their hash.

/// Length of the repeated pattern. A prime, so that it never lines up with a buffer.
const PATTERN: usize = 65_521;

fn pattern() -> Vec<u8> {
    let mut state: u32 = 0x9e37_79b9;
    (0..PATTERN)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .collect()
}

/// Hands `length` bytes to `sink` in pieces and returns their hash.
pub(crate) fn generate<E>(
    length: u64,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<blake3::Hash, E> {
    let pattern = pattern();
    let mut hasher = blake3::Hasher::new();
    let mut left = length;
    while left > 0 {
        let take = usize::try_from(left).unwrap_or(PATTERN).min(PATTERN);
        hasher.update(&pattern[..take]);
        sink(&pattern[..take])?;
        left -= take as u64;
    }
    Ok(hasher.finalize())
}

/// The first `length` bytes.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(length);
    let written: Result<_, ()> = generate(length as u64, |part| {
        all.extend_from_slice(part);
        Ok(())
    });
    written.unwrap();
    all
}

/// The hash of the first `length` bytes.
pub(crate) fn hash(length: u64) -> blake3::Hash {
    let hash: Result<_, ()> = generate(length, |_| Ok(()));
    hash.unwrap()
}
