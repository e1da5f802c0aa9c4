//! The tables of docs/configuration.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use super::super::keys::shape::{DefaultText, Key, Shape, Typed};
use super::super::tests::own;
use super::super::units::{show_duration, show_size};
use super::super::yaml::join;
use super::{Table, settle, tables};

const DOCUMENT: &str = "docs/configuration.md";
const BEGIN: &str = "<!-- keys: ";
const END: &str = "<!-- end of keys -->";

/// The name of the table of the keys at the top.
const TOP: &str = "the top of the file";

#[test]
fn the_document_has_every_key() {
    let text = fs::read_to_string(own(DOCUMENT)).unwrap();
    let tables = tables();
    let marked: BTreeSet<&str> = text
        .split(BEGIN)
        .skip(1)
        .map(|rest| rest.split(" -->").next().unwrap())
        .map(|name| if name == TOP { "" } else { name })
        .collect();
    let mut shown = BTreeSet::new();
    let mut parts = text.split_inclusive(BEGIN);
    let mut wanted = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->\n").expect("the name of a table");
        let (_, after) = rest.split_once(END).expect("the end of a table");
        let path = if name == TOP { "" } else { name };
        let table = tables.iter().find(|table| table.path == path);
        let table = table.unwrap_or_else(|| panic!("{DOCUMENT}: no map is named {name:?}"));
        let mut rows = Vec::new();
        collect(&tables, table, "", &marked, &mut rows, &mut shown);
        write!(wanted, "{name} -->\n{}{END}{after}", show(table, &rows)).unwrap();
    }
    // Some maps are in several places, such as list files; one of them is enough.
    for table in &tables {
        assert!(
            shown.contains(&table.names()),
            "{DOCUMENT}: add a line `{BEGIN}{} -->` and a line `{END}`, then run `make reference`",
            table.path
        );
    }
    settle(DOCUMENT, &wanted);
}

/// The rows of a table, those of required keys first, with those of the maps in it that have no table of their own.
fn collect<'t>(
    tables: &'t [Table],
    table: &'t Table,
    prefix: &str,
    marked: &BTreeSet<&str>,
    rows: &mut Vec<(String, &'t Key)>,
    shown: &mut BTreeSet<Vec<&'static str>>,
) {
    shown.insert(table.names());
    let mut keys: Vec<&Key> = table.keys.iter().collect();
    keys.sort_by_key(|key| key.default != DefaultText::Required);
    for key in keys {
        let name = join(prefix, key.name);
        rows.push((name.clone(), key));
        let path = join(&table.path, key.name);
        let inner = tables.iter().find(|table| table.path == path);
        if let Some(inner) = inner
            && !marked.contains(path.as_str())
        {
            collect(tables, inner, &name, marked, rows, shown);
        }
    }
}

fn show(table: &Table, rows: &[(String, &Key)]) -> String {
    let mut text = format!("{}\n\n", reload(table));
    text += "| key | value | default | meaning |\n|---|---|---|---|\n";
    for (name, key) in rows {
        let cells = [say(&key.shape), default(&key.default), key.about.to_owned()];
        let cells = cells.map(|cell| cell.replace('|', "\\|")).join(" | ");
        writeln!(text, "| `{name}` | {cells} |").unwrap();
    }
    text
}

/// What a reload does with the keys.
fn reload(table: &Table) -> String {
    if table.on_reload {
        return "A reload applies these keys.".to_owned();
    }
    let applied: Vec<String> = table
        .keys
        .iter()
        .filter(|key| key.on_reload)
        .map(|key| format!("`{}`", key.name))
        .collect();
    match applied.as_slice() {
        [] => "A change needs a restart or an upgrade.".to_owned(),
        [one] => {
            format!(
                "A reload applies {one}. A change of another key needs a restart or an upgrade."
            )
        }
        [others @ .., last] => format!(
            "A reload applies {} and {last}. A change of another key needs a restart or an upgrade.",
            others.join(", ")
        ),
    }
}

fn default(default: &DefaultText) -> String {
    match default {
        DefaultText::Required => "required".to_owned(),
        DefaultText::Value(value) => format!("`{value}`"),
        DefaultText::Words(words) => (*words).to_owned(),
        DefaultText::OfItsKeys => String::new(),
    }
}

/// How a value is written.
pub(super) fn say(shape: &Shape) -> String {
    match shape {
        Shape::Flag => "`true`, `false`".to_owned(),
        Shape::Number(range) => range_of(range.start(), range.end()),
        Shape::Size(range) => range_of(show_size(*range.start()), show_size(*range.end())),
        Shape::Duration(range) => {
            range_of(show_duration(*range.start()), show_duration(*range.end()))
        }
        Shape::Words(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        }
        Shape::Text(what, None) | Shape::Form { what, .. } | Shape::Texts(what) => {
            (*what).to_owned()
        }
        Shape::Text(what, Some(most)) => format!("{what}, up to {most} characters"),
        Shape::Either(shapes) => {
            let shapes: Vec<_> = shapes.iter().map(say).collect();
            shapes.join(", or ")
        }
        Shape::List { of, length } => {
            let least = if *length.start() > 0 {
                ", not empty"
            } else {
                ""
            };
            let most = match *length.end() {
                usize::MAX => String::new(),
                most => format!(", up to {most}"),
            };
            match of.as_ref() {
                Shape::Map(_) => format!("a list of maps{least}{most}"),
                of => format!("a list{least}{most}: {}", say(of)),
            }
        }
        Shape::Map(_) | Shape::Part(_) => "a map".to_owned(),
        Shape::Names(of) => format!("a map; of each name: {of}"),
        Shape::NamedMaps(_) => "a map of names and maps".to_owned(),
        Shape::Typed(typed) => say_typed(typed),
    }
}

fn say_typed(typed: &Typed) -> String {
    match typed {
        Typed::Flag => say(&Shape::Flag),
        Typed::Number(range) if *range.end() == u64::MAX => match range.start() {
            0 => "a whole number".to_owned(),
            _ => "a whole number above 0".to_owned(),
        },
        Typed::Number(range) => say(&Shape::Number(range.clone())),
        Typed::Text(what) => (*what).to_owned(),
        Typed::Words(words) => say(&Shape::words(words)),
        Typed::List(of) => format!("a list: {of}"),
        Typed::Optional(inner) => say_typed(inner),
    }
}

fn range_of(least: impl ToString, most: impl ToString) -> String {
    let (least, most) = (least.to_string(), most.to_string());
    if least == most {
        least
    } else {
        format!("{least} to {most}")
    }
}
