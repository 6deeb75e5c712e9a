//! Names of topics by number, so that each stands in a list once. 0 is the sink's own topic, which has no name here.

use std::collections::BTreeMap;

/// The table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicTable {
    names: Vec<Box<str>>,
    numbers: BTreeMap<Box<str>, u32>,
    bytes: usize,
}

impl TopicTable {
    /// The number of a name, which is given one if it has none.
    pub fn number(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        self.names.push(name.into());
        self.bytes += name.len();
        let number = self.names.len() as u32;
        self.numbers.insert(name.into(), number);
        number
    }

    /// The name with this number; empty for 0, and for one that was not given.
    pub fn name(&self, number: u32) -> &str {
        let at = (number as usize).checked_sub(1);
        at.and_then(|at| self.names.get(at)).map_or("", |name| name)
    }

    /// All names, by number from 1 on.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Bytes of all names.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number() {
        let mut table = TopicTable::default();
        assert_eq!(["", "a", "b", "a", ""].map(|name| table.number(name)), [0, 1, 2, 1, 0]);
        assert_eq!([0, 1, 2, 3].map(|number| table.name(number).to_string()), ["", "a", "b", ""]);
        assert_eq!((table.len(), table.bytes()), (2, 2));
    }
}
