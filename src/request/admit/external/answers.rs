//! The answers that are kept: those that admit, and apart from them the others, of which a client can cause as many as
//! it likes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::access::auth::external::{Answer, External, MAX_REFUSED, QuestionKey, Verdict};

/// Answers that do not admit.
const REFUSED_ENTRIES: usize = 1024;

/// A limited number of answers, each for a limited time.
pub(super) struct Answers {
    admitted: Cache<QuestionKey, Kept>,
    refused: Cache<QuestionKey, Kept>,
    ttl: Duration,
}

#[derive(Clone)]
struct Kept {
    verdict: Arc<Verdict>,
    until: Instant,
}

impl Answers {
    pub(super) fn new(settings: &External) -> Self {
        Self {
            admitted: Cache::new(settings.cache_entries),
            refused: Cache::new(settings.cache_entries.min(REFUSED_ENTRIES)),
            ttl: settings.cache,
        }
    }

    /// The answer to this question, while it counts.
    pub(super) fn lookup(&self, key: &QuestionKey, now: Instant) -> Option<Arc<Verdict>> {
        let found = self.admitted.get(key).or_else(|| self.refused.get(key));
        let found = found.filter(|kept| now < kept.until);
        found.map(|kept| kept.verdict)
    }

    /// Keeps the answer to a question that was asked at `asked`.
    pub(super) fn insert(&self, key: QuestionKey, answer: &Answer, asked: Instant) -> Arc<Verdict> {
        let verdict = Arc::new(answer.verdict.clone());
        let (entries, most) = match &*verdict {
            Verdict::Admit(_) => (&self.admitted, self.ttl),
            Verdict::Challenge { .. } | Verdict::Deny { .. } => {
                // An answer from before may have admitted.
                self.admitted.remove(&key);
                (&self.refused, self.ttl.min(MAX_REFUSED))
            }
        };
        let ttl = answer.ttl.map_or(most, |ttl| ttl.min(most));
        if !ttl.is_zero() {
            let kept = Kept {
                verdict: Arc::clone(&verdict),
                until: asked + ttl,
            };
            entries.insert(key, kept);
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::auth::external::{Ask, Grant, Question};
    use crate::http::role::Role;
    use crate::request::admit::external::authorizer::tests::settings;

    fn key(user: &str) -> QuestionKey {
        let question = Question {
            id: "",
            user: Some(user),
            client: "192.0.2.1".parse().unwrap(),
            role: Role::Tunnel,
            method: "CONNECT",
            scheme: None,
            target: Some("a:1"),
            paths: &[],
            query: None,
            path: None,
            tls: false,
            groups: vec![],
            rule: None,
            password: None,
            uri: "",
            certificate: None,
            authorization: None,
        };
        question.key(&[1; 32]).unwrap()
    }

    fn answer(admits: bool, ttl: Option<u64>) -> Answer {
        Answer {
            verdict: match admits {
                true => Verdict::Admit(Grant::default()),
                false => Verdict::Challenge { message: None },
            },
            ttl: ttl.map(Duration::from_secs),
            misspelt: None,
        }
    }

    #[test]
    fn how_long_an_answer_is_kept() {
        let answers = Answers::new(&settings(Ask::Always));
        let now = Instant::now();
        let ms = Duration::from_millis;
        for (admits, ttl, last) in [
            (true, None, 60_000),
            (true, Some(5), 5_000),
            (true, Some(3600), 60_000),
            (true, Some(0), 0),
            (false, None, 1_000),
            (false, Some(3600), 1_000),
            (false, Some(0), 0),
        ] {
            let key = key(&format!("{admits} {ttl:?}"));
            assert!(answers.lookup(&key, now).is_none());
            answers.insert(key, &answer(admits, ttl), now);
            if last > 0 {
                assert!(answers.lookup(&key, now + ms(last - 1)).is_some());
            }
            assert!(answers.lookup(&key, now + ms(last)).is_none());
        }
        // A denial ends an admission.
        let ann = key("ann");
        answers.insert(ann, &answer(true, None), now);
        answers.insert(ann, &answer(false, Some(0)), now);
        assert!(answers.lookup(&ann, now).is_none());
        let off = Answers::new(&External {
            cache: Duration::ZERO,
            ..settings(Ask::Always)
        });
        for admits in [true, false] {
            off.insert(ann, &answer(admits, Some(9)), now);
            assert!(off.lookup(&ann, now).is_none());
        }
    }

    #[test]
    fn refusals_take_no_place_of_admissions() {
        let answers = Answers::new(&settings(Ask::Always));
        let now = Instant::now();
        let ann = key("ann");
        answers.insert(ann, &answer(true, None), now);
        for number in 0..20_000 {
            answers.insert(key(&number.to_string()), &answer(false, None), now);
        }
        assert!(answers.lookup(&ann, now).is_some());
        assert!(answers.refused.len() <= 2 * REFUSED_ENTRIES);
    }
}
