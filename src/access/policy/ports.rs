//! Sets of ports, `connect_ports` and `http_ports`.

use super::entry::{EntryError, EntryProblem, read_entries};
use super::reach::Ranges;

/// A set of ports: any, or ports and ranges. The default is the empty set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Inclusive, in order, neither overlapping nor touching.
    ranges: Vec<(u16, u16)>,
}

impl Ports {
    /// Every port.
    pub fn any() -> Ports {
        Ports {
            ranges: vec![(1, u16::MAX)],
        }
    }

    /// Reads entries: `any` alone, or ports `443` and ranges `8000-8099`. No entries mean no port.
    ///
    /// # Errors
    /// One [`EntryError`] for each other entry.
    pub fn parse<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Ports, Vec<EntryError>> {
        let mut ranges = Vec::new();
        let mut any = false;
        read_entries(entries, |text| {
            if any || (text == "any" && !ranges.is_empty()) {
                return Err(EntryProblem::AnyNotAlone);
            }
            any = text == "any";
            ranges.push(if any {
                (1, u16::MAX)
            } else {
                parse_range(text)?
            });
            Ok(())
        })?;
        Ok(Ports::from_ranges(ranges))
    }

    /// Whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|&(start, _)| start <= port);
        after
            .checked_sub(1)
            .and_then(|index| self.ranges.get(index))
            .is_some_and(|&(_, end)| port <= end)
    }

    /// The ports as ranges.
    pub(super) fn ranges(&self) -> Ranges {
        let ranges = self.ranges.iter();
        ranges
            .map(|(start, end)| (u128::from(*start), u128::from(*end)))
            .collect()
    }

    fn from_ranges(mut ranges: Vec<(u16, u16)>) -> Ports {
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            match merged.last_mut() {
                Some((_, last)) if start <= last.saturating_add(1) => *last = end.max(*last),
                _ => merged.push((start, end)),
            }
        }
        Ports { ranges: merged }
    }
}

impl From<u16> for Ports {
    fn from(port: u16) -> Ports {
        Ports {
            ranges: vec![(port, port)],
        }
    }
}

fn parse_range(text: &str) -> Result<(u16, u16), EntryProblem> {
    let (start, end) = match text.split_once('-') {
        Some((start, end)) => (parse_port(start.trim())?, parse_port(end.trim())?),
        None => {
            let port = parse_port(text)?;
            (port, port)
        }
    };
    if start > end {
        return Err(EntryProblem::PortRange);
    }
    Ok((start, end))
}

fn parse_port(text: &str) -> Result<u16, EntryProblem> {
    if text.starts_with('+') {
        return Err(EntryProblem::Port);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(EntryProblem::Port),
        Ok(port) => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sets() {
        let ports = Ports::parse([
            "443",
            "8000-8099",
            " 8100 - 8200 # more",
            "",
            "# none",
            "65535",
        ]);
        let ports = ports.unwrap();
        for (port, expected) in [
            (0, false),
            (442, false),
            (443, true),
            (444, false),
            (8000, true),
            (8099, true),
            (8100, true),
            (8200, true),
            (8201, false),
            (65535, true),
        ] {
            assert_eq!(ports.contains(port), expected, "{port}");
        }
        assert_eq!(Ports::parse(["any"]).unwrap(), Ports::any());
        assert!(Ports::any().contains(1) && Ports::any().contains(65535));
        let none = Ports::parse::<&str>([]).unwrap();
        assert!(none == Ports::default() && !none.contains(443));
        assert!(Ports::from(80).contains(80) && !Ports::from(80).contains(81));
    }

    #[test]
    fn errors() {
        for entry in [
            "0", "65536", "+80", "-1", "80-", "https", "ANY", "0-5", "1-+5", "1-2-3", "80,443",
        ] {
            let error = Ports::parse([entry]).unwrap_err().remove(0);
            assert_eq!(error.problem, EntryProblem::Port, "{entry}");
        }
        let error = Ports::parse(["90-80"]).unwrap_err().remove(0);
        assert_eq!(error.problem, EntryProblem::PortRange);
        for entries in [["any", "80"], ["80", "any"], ["any", "any"]] {
            let error = Ports::parse(entries).unwrap_err().remove(0);
            assert_eq!(
                (error.number, error.problem),
                (2, EntryProblem::AnyNotAlone)
            );
        }
        let errors = Ports::parse(["80", "x", "443", "y"]).unwrap_err();
        let numbers: Vec<usize> = errors.iter().map(|error| error.number).collect();
        assert_eq!(numbers, [2, 4]);
        let text = "entry 2 \"x\": not a port; write 443, 8000-8099 or any";
        assert_eq!(errors[0].to_string(), text);
    }

    proptest! {
        #[test]
        fn has_the_ports_of_its_ranges(
            ranges in proptest::collection::vec((1u16.., 1u16..), 0..6),
            port: u16,
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            let ports = Ports::parse(ranges.iter().map(|(a, b)| format!("{a}-{b}"))).unwrap();
            let plain = ranges.iter().any(|(a, b)| (*a..=*b).contains(&port));
            prop_assert_eq!(ports.contains(port), plain);
        }

        #[test]
        fn never_panics(entries in proptest::collection::vec(".{0,20}", 0..8)) {
            let _ = Ports::parse(entries);
        }
    }
}
