//! Fuzzing of one target without the help of a compiler: inputs are changed at random, and those on which the
//! parser does something new are kept and changed further.

use std::collections::HashMap;
use std::io;

use super::Target;
use super::mutator::{Random, mutate};

/// The longest input. Parsers have limits of their own at or below this length.
pub const MAX_INPUT: usize = 64 * 1024;

/// One target with the inputs that are known for it. The same seed gives the same inputs.
#[derive(Debug)]
pub struct Campaign {
    random: Random,
    dictionary: Vec<Vec<u8>>,
    corpus: Vec<Vec<u8>>,
    /// Where in the corpus the shortest input is that makes the parser do this.
    behaviours: HashMap<String, usize>,
}

impl Campaign {
    /// Begins with the seeds of a target. Runs none of them.
    ///
    /// # Errors
    /// Seeds or dictionary cannot be read.
    pub fn new(target: &Target, seed: u64) -> io::Result<Campaign> {
        // Targets differ in their random numbers, so that one of them alone gets the same as among others.
        let random = target
            .name
            .bytes()
            .fold(seed, |seed, byte| seed.rotate_left(8) ^ u64::from(byte));
        Ok(Campaign {
            random: Random(random),
            dictionary: target.dictionary()?,
            corpus: target.seeds()?,
            behaviours: HashMap::new(),
        })
    }

    /// The next input to try.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut pick = || self.random.pick(&self.corpus).cloned().unwrap_or_default();
        let (mut input, other) = (pick(), pick());
        mutate(
            &mut self.random,
            &mut input,
            &other,
            &self.dictionary,
            MAX_INPUT,
        );
        input
    }

    /// Notes what the parser did with an input, and keeps the input when that is new, or when it is shorter than
    /// the one before.
    pub fn note(&mut self, input: Vec<u8>, behaviour: String) {
        match self.behaviours.get(&behaviour) {
            None => {
                self.behaviours.insert(behaviour, self.corpus.len());
                self.corpus.push(input);
            }
            Some(known) => {
                if let Some(known) = self.corpus.get_mut(*known)
                    && input.len() < known.len()
                {
                    *known = input;
                }
            }
        }
    }

    /// How many things the parser has done.
    pub fn behaviours(&self) -> usize {
        self.behaviours.len()
    }
}
