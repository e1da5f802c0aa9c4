//! The fuzz target of the trace context: the first line is a `traceparent`, the others are those of a `tracestate`.

use super::{LENGTH, MAX_MEMBERS, MAX_STATE, TraceParent, trace_state};

/// Reads both, and checks that what is taken is taken again as it is passed on.
pub fn trace_context(data: &[u8]) -> String {
    let mut lines = data.split(|byte| *byte == b'\n');
    let parent = TraceParent::parse(lines.next().unwrap_or_default());
    if let Ok(parent) = &parent {
        let written = parent.to_string();
        assert_eq!(written.len(), LENGTH);
        assert_eq!(TraceParent::parse(written.as_bytes()), Ok(*parent));
        assert!(parent.trace_id != [0; 16] && parent.parent_id != [0; 8]);
    }
    let state = trace_state(lines);
    if let Some(state) = &state {
        assert!(state.len() <= MAX_STATE);
        assert!(
            state
                .bytes()
                .all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t')
        );
        assert_eq!(trace_state([state.as_bytes()]).as_ref(), Some(state));
        let members = state.split(',').filter(|member| !member.trim().is_empty());
        assert!((1..=MAX_MEMBERS).contains(&members.count()));
    }
    let parent = match parent {
        Ok(_) => "a parent".to_owned(),
        Err(error) => format!("{error:?}"),
    };
    format!("{parent}, state: {}", state.is_some())
}
