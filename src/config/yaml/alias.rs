//! Anchors (`&name`) and the aliases (`*name`) that copy what they stand for, with bounds: aliases of aliases
//! make a small file large without end.

use std::collections::HashMap;

use super::{Node, Value};

/// What all aliases of a file may copy: characters, and one for each node.
const MAX_COPIED: usize = 1 << 20;

/// Nodes with an anchor, by its number.
#[derive(Default)]
pub(super) struct Anchors {
    kept: HashMap<usize, Kept>,
    copied: usize,
}

struct Kept {
    node: Node,
    size: Size,
}

/// What a copy costs.
#[derive(Clone, Copy)]
struct Size {
    weight: usize,
    /// 1 for a scalar.
    depth: usize,
}

/// Why an alias is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AliasError {
    Recursive,
    TooDeep,
    TooLarge,
}

impl AliasError {
    pub(super) fn message(self) -> &'static str {
        match self {
            AliasError::Recursive => "an alias of the value that it stands in",
            AliasError::TooDeep => "an alias that nests values too deeply",
            AliasError::TooLarge => "aliases that make the file larger than 1 MiB",
        }
    }
}

impl Anchors {
    pub(super) fn keep(&mut self, anchor: usize, node: &Node) {
        let size = size(node);
        let node = node.clone();
        self.kept.insert(anchor, Kept { node, size });
    }

    /// What an anchor stands for, for a place with room for `depth` values in each other.
    pub(super) fn copy(&mut self, anchor: usize, depth: usize) -> Result<Node, AliasError> {
        // The parser knows anchors from their start on, and the node is kept at its end.
        let Kept { node, size } = self.kept.get(&anchor).ok_or(AliasError::Recursive)?;
        if size.depth > depth {
            return Err(AliasError::TooDeep);
        }
        self.copied = self.copied.saturating_add(size.weight);
        if self.copied > MAX_COPIED {
            return Err(AliasError::TooLarge);
        }
        Ok(node.clone())
    }
}

/// Not deep: what is nested is bounded when it is read and when it is copied.
fn size(node: &Node) -> Size {
    let none = Size {
        weight: 1,
        depth: 1,
    };
    let with = |sum: Size, node: &Node| {
        let inner = size(node);
        Size {
            weight: sum.weight.saturating_add(inner.weight),
            depth: sum.depth.max(1 + inner.depth),
        }
    };
    match &node.value {
        Value::Scalar { text, .. } => Size {
            weight: 1 + text.len(),
            depth: 1,
        },
        Value::List(nodes) => nodes.iter().fold(none, with),
        Value::Map(entries) => entries.iter().fold(none, |sum, entry| {
            let sum = with(sum, &entry.node);
            Size {
                weight: sum.weight.saturating_add(entry.key.len()),
                ..sum
            }
        }),
        Value::Refused => none,
    }
}
