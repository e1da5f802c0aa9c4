//! Changes inputs at random, in the ways of libFuzzer.

/// Numbers around which parsers make mistakes.
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "00",
    "127",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "4294967296",
    "7fffffffffffffff",
    "9223372036854775808",
    "18446744073709551616",
];

/// Bytes that separate or end something in most languages.
const BYTES: &[u8] = b"\0\t\n\r \"#%'()*+,-./0:;=?@[\\]_`aAfFxz{|}~\x7f\x80\xc3\xff";

/// Pseudo-random numbers (SplitMix64): the same seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let number = self.next().checked_rem(end as u64);
        // The remainder is below a `usize`.
        number.unwrap_or_default() as usize
    }

    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len()))
    }

    /// A short range inside of `len`; one of four is as long as it can be.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len);
        let longest = if self.below(4) == 0 { len } else { 16 };
        let end = start + self.below((len - start).min(longest) + 1);
        start..end
    }
}

/// Makes an input from `input`, from another one of the corpus and from the words of the language.
pub(super) fn mutate(
    random: &mut Random,
    input: &mut Vec<u8>,
    other: &[u8],
    dictionary: &[Vec<u8>],
    max: usize,
) {
    for _ in 0..1 << random.below(4) {
        once(random, input, other, dictionary);
        input.truncate(max);
    }
}

fn once(random: &mut Random, input: &mut Vec<u8>, other: &[u8], dictionary: &[Vec<u8>]) {
    let at = random.below(input.len());
    let byte = [
        random.next() as u8,
        random.pick(BYTES).copied().unwrap_or_default(),
    ];
    let byte = random.pick(&byte).copied().unwrap_or_default();
    match random.below(14) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(place) = input.get_mut(at) {
                *place = byte;
            }
        }
        2 => input.insert(at, byte),
        3 => drop(input.drain(random.range(input.len()))),
        4 => input.truncate(at),
        5 => {
            let block = random.range(input.len());
            let block = input.get(block).unwrap_or_default().to_vec();
            insert(input, at, &block);
        }
        6 => {
            // To reach limits.
            let end = (at + 1 + random.below(4)).min(input.len());
            let block = input.get(at..end).unwrap_or_default();
            let times = 1 << random.below(10);
            let block = block.repeat(times);
            insert(input, end, &block);
        }
        7 | 8 => {
            if let Some(word) = random.pick(dictionary) {
                insert(input, at, word);
            }
        }
        9 => {
            if let Some(word) = random.pick(dictionary) {
                let end = (at + word.len()).min(input.len());
                input.splice(at..end, word.iter().copied());
            }
        }
        10 => {
            let block = other.get(random.range(other.len())).unwrap_or_default();
            let replaced = random.range(input.len());
            input.splice(replaced, block.iter().copied());
        }
        11 => {
            let tail = other.get(random.below(other.len())..).unwrap_or_default();
            input.truncate(at);
            input.extend_from_slice(tail);
        }
        12 => {
            let number = random.pick(&NUMBERS).copied().unwrap_or_default();
            replace_number(input, at, number.as_bytes());
        }
        _ => move_line(random, input),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, block: &[u8]) {
    input.splice(at..at, block.iter().copied());
}

/// Replaces the first number behind `at`.
fn replace_number(input: &mut Vec<u8>, at: usize, number: &[u8]) {
    let behind = input.get(at..).unwrap_or_default();
    if let Some(start) = behind.iter().position(u8::is_ascii_digit) {
        let digits = behind.iter().skip(start);
        let len = digits.take_while(|byte| byte.is_ascii_digit()).count();
        input.splice(at + start..at + start + len, number.iter().copied());
    }
}

/// Moves or copies a line to the place of another one.
fn move_line(random: &mut Random, input: &mut Vec<u8>) {
    let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let line = match random.below(2) {
        0 => lines.remove(random.below(lines.len())),
        _ => random.pick(&lines).copied().unwrap_or_default(),
    };
    lines.insert(random.below(lines.len() + 1), line);
    *input = lines.concat();
}
