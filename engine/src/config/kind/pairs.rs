//! Lists of pairs: headers that are added to records.

use super::text::TemplateText;
use super::{Complaint, Described, Kind, World};
use crate::config::value::{Raw, Value};
use crate::rule::Columns;

/// `[{ key = "k", value = "${x}" }]`: templates both.
pub(crate) struct HeaderPairs;

const REMEDY: &str = "write a list such as [{ key = \"client\", value = \"${clientid}\" }]";

impl Described for HeaderPairs {
    fn noun(&self) -> String {
        "list of `{ key, value }`".to_string()
    }
    fn literal(&self, word: &str) -> String {
        format!("[{word}]")
    }
}

impl Kind for HeaderPairs {
    type Value = Vec<(String, String)>;

    fn read(&self, value: &Value, world: &World) -> Result<Self::Value, Complaint> {
        let Raw::List(items) = &value.raw else {
            return Err(Complaint::not("a list of headers", value, REMEDY));
        };
        items.iter().map(|item| pair(item, world)).collect()
    }

    fn absent(&self) -> Option<Self::Value> {
        Some(Vec::new())
    }
}

fn pair(item: &Value, world: &World) -> Result<(String, String), Complaint> {
    let at = |complaint: Complaint, value: &Value| Complaint {
        span: complaint.span.clone().or(Some(value.span.clone())),
        ..complaint
    };
    let Raw::Table(members) = &item.raw else {
        return Err(at(Complaint::not("a table of key and value", item, REMEDY), item));
    };
    let template = TemplateText { columns: Columns::Publish, alone: false };
    let member = |wanted: &str| {
        let found = members.iter().find(|(key, _)| key.name == wanted).map(|(_, value)| value);
        let missing = || at(Complaint::new(format!("has a header without `{wanted}`"), REMEDY), item);
        found.ok_or_else(missing).and_then(|value| template.read(value, world).map_err(|c| at(c, value)))
    };
    if let Some((other, value)) = members.iter().find(|(key, _)| !["key", "value"].contains(&key.name.as_str())) {
        return Err(at(Complaint::new(format!("has a header with `{}`", other.name), REMEDY), value));
    }
    Ok((member("key")?, member("value")?))
}
