//! The fuzz targets: the table in `src/internals.rs`, and what each target has in `fuzz/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{files, read, root};

/// Seeds are for a clone of the repository: all of them together are small.
const MAX_SEEDS: u64 = 100 * 1024;

/// The names between `start` and `}` of a text.
fn names(text: &str, start: &str) -> BTreeSet<String> {
    let (_, rest) = text.split_once(start).expect(start);
    let (list, _) = rest.split_once('}').expect(start);
    let names = list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn stems(folder: &Path, extension: &str) -> BTreeSet<String> {
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files(folder, extension)
        .iter()
        .map(|path| stem(path))
        .collect()
}

#[test]
fn every_fuzz_target_is_complete() {
    let fuzz = root().join("fuzz");
    let targets = names(&read(&root().join("src/internals.rs")), "$with! {");
    assert!(targets.len() > 5, "{targets:?}");
    assert_eq!(stems(&fuzz.join("fuzz_targets"), "rs"), targets);
    assert_eq!(stems(&fuzz.join("dictionaries"), "dict"), targets);

    let manifest = read(&fuzz.join("Cargo.toml"));
    let readme = read(&fuzz.join("README.md"));
    let bins = manifest.matches("[[bin]]").count();
    assert_eq!(bins, targets.len());
    let mut bytes = 0;
    for target in &targets {
        let source = format!("name = \"{target}\"\npath = \"fuzz_targets/{target}.rs\"");
        assert!(manifest.contains(&source), "{target}");
        assert!(readme.contains(&format!("| `{target}` |")), "{target}");
        let code = read(&fuzz.join(format!("fuzz_targets/{target}.rs")));
        assert!(
            code.contains(&format!("internals::targets::{target}(data)")),
            "{target}"
        );
        let seeds = fs::read_dir(fuzz.join("corpus").join(target)).expect(target);
        let sizes: Vec<_> = seeds
            .map(|seed| seed.unwrap().metadata().unwrap().len())
            .collect();
        assert!(sizes.len() > 2, "{target}");
        bytes += sizes.iter().sum::<u64>();
    }
    let corpora = fs::read_dir(fuzz.join("corpus")).unwrap();
    assert_eq!(corpora.count(), targets.len());
    assert!(bytes < MAX_SEEDS, "{bytes}");
}
