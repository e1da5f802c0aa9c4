//! The limits that are checked before a text is parsed: its length, its tokens, its nesting.
//!
//! The crate's parser recurses, and its own limit needs more than a thread's stack. So the text is
//! split into tokens here first, by the lexical rules of CEL, and a text that is too long or too deep is
//! rejected. Grammar is not checked, except for errors that the parser accepts or reports badly.

use super::{
    MAX_NESTING, MAX_TEXT, MAX_TOKENS,
    error::{ExpressionError, ExpressionProblem, Position},
};

/// An open bracket.
struct Open {
    bracket: char,
    at: usize,
    /// The nesting outside it.
    outside: usize,
}

/// The kind of the previous token, as far as the next one depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// A name, a literal or a closing bracket: a `-` after it subtracts.
    Operand,
    Operator,
    Not,
    /// A `-` that negates.
    Negation,
}

struct Scanner<'t> {
    text: &'t str,
    chars: std::iter::Peekable<std::iter::Enumerate<std::str::Chars<'t>>>,
    tokens: usize,
    nesting: usize,
    open: Vec<Open>,
    last: Last,
}

/// Rejects a text that must not reach the parser.
pub(super) fn scan(text: &str) -> Result<(), ExpressionError> {
    if text.len() > MAX_TEXT {
        return Err(ExpressionProblem::TooLong { max: MAX_TEXT }.into());
    }
    Scanner {
        text,
        chars: text.chars().enumerate().peekable(),
        tokens: 0,
        nesting: 0,
        open: Vec::new(),
        last: Last::Operator,
    }
    .run()
}

impl Scanner<'_> {
    fn run(mut self) -> Result<(), ExpressionError> {
        while let Some((at, c)) = self.chars.next() {
            if matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{c}') {
                continue;
            }
            if c == '/' && self.take_if('/') {
                while self.chars.next_if(|&(_, c)| c != '\n').is_some() {}
                continue;
            }
            self.tokens += 1;
            if self.tokens > MAX_TOKENS {
                return Err(ExpressionProblem::TooManyTokens { max: MAX_TOKENS }.into());
            }
            self.last = self.token(at, c)?;
        }
        if let Some(open) = self.open.pop() {
            return Err(self.error(open.at, ExpressionProblem::NotClosed(open.bracket)));
        }
        if self.tokens == 0 {
            return Err(ExpressionProblem::Empty.into());
        }
        Ok(())
    }

    /// Takes the rest of the token that begins with `c`.
    fn token(&mut self, at: usize, c: char) -> Result<Last, ExpressionError> {
        match c {
            'a'..='z' | 'A'..='Z' | '_' | '0'..='9' => return self.word(at, c),
            '"' | '\'' => return self.string(at, c, false),
            '(' | '[' | '{' => {
                let outside = self.nesting;
                self.open.push(Open {
                    bracket: c,
                    at,
                    outside,
                });
                self.nest()?;
            }
            ')' | ']' | '}' => {
                let opening = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                match self.open.pop() {
                    Some(open) if open.bracket == opening => self.nesting = open.outside,
                    _ => return Err(self.error(at, ExpressionProblem::NotOpened(c))),
                }
                return Ok(Last::Operand);
            }
            '?' => self.nest()?,
            ',' => self.nesting = self.open.last().map_or(0, |open| open.outside + 1),
            '!' if self.take_if('=') => {}
            '!' if self.last == Last::Not => {
                return Err(self.error(at, ExpressionProblem::Twice("!")));
            }
            '!' => return Ok(Last::Not),
            '-' => match self.last {
                Last::Operand => {}
                // The parser drops both, whatever follows them.
                Last::Negation => return Err(self.error(at, ExpressionProblem::Twice("-"))),
                Last::Operator | Last::Not => return Ok(Last::Negation),
            },
            '<' | '>' => {
                self.take_if('=');
            }
            '=' | '&' | '|' if self.take_if(c) => {}
            '=' => return Err(self.error(at, ExpressionProblem::Operator("=", "=="))),
            '&' => return Err(self.error(at, ExpressionProblem::Operator("&", "&&"))),
            '|' => return Err(self.error(at, ExpressionProblem::Operator("|", "||"))),
            '.' | ':' | '+' | '*' | '/' | '%' => {}
            _ => return Err(self.error(at, ExpressionProblem::Character(c))),
        }
        Ok(Last::Operator)
    }

    fn word(&mut self, at: usize, first: char) -> Result<Last, ExpressionError> {
        let mut word = String::from(first);
        while let Some((_, c)) = self
            .chars
            .next_if(|&(_, c)| c.is_ascii_alphanumeric() || c == '_')
        {
            word.push(c);
        }
        let raw = match &*word {
            "r" | "R" | "br" | "bR" | "Br" | "BR" => Some(true),
            "b" | "B" => Some(false),
            _ => None,
        };
        if let Some(raw) = raw
            && let Some((_, quote)) = self.chars.next_if(|&(_, c)| c == '"' || c == '\'')
        {
            return self.string(at, quote, raw);
        }
        match &*word {
            "and" => Err(self.error(at, ExpressionProblem::Operator("and", "&&"))),
            "or" => Err(self.error(at, ExpressionProblem::Operator("or", "||"))),
            "not" => Err(self.error(at, ExpressionProblem::Operator("not", "!"))),
            "in" => Ok(Last::Operator),
            _ => Ok(Last::Operand),
        }
    }

    /// Takes a string after its opening quote.
    fn string(&mut self, at: usize, quote: char, raw: bool) -> Result<Last, ExpressionError> {
        let mut triple = false;
        if self.take_if(quote) {
            if !self.take_if(quote) {
                return Ok(Last::Operand);
            }
            triple = true;
        }
        let mut quotes = 0;
        while let Some((_, c)) = self.chars.next() {
            match c {
                '\\' if !raw => {
                    self.chars.next();
                    quotes = 0;
                }
                '\n' | '\r' if !triple => break,
                _ if c == quote => quotes += 1,
                _ => quotes = 0,
            }
            if quotes == if triple { 3 } else { 1 } {
                return Ok(Last::Operand);
            }
        }
        Err(self.error(at, ExpressionProblem::NotClosed(quote)))
    }

    fn nest(&mut self) -> Result<(), ExpressionError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(ExpressionProblem::TooNested { max: MAX_NESTING }.into());
        }
        Ok(())
    }

    fn take_if(&mut self, wanted: char) -> bool {
        self.chars.next_if(|&(_, c)| c == wanted).is_some()
    }

    fn error(&self, at: usize, problem: ExpressionProblem) -> ExpressionError {
        ExpressionError {
            at: Some(Position::of(self.text, at)),
            problem,
        }
    }
}
