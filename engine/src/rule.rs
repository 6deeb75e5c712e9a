//! What a route or a rule makes of an event: [`template`]s, and [`headers`] made of them.
//!
//! A template reads the columns of an [`Event`](crate::event::Event) by the names EMQX 5 gives them ([`column`]), walks into JSON
//! text where the template asks for it ([`lookup`]), and writes JSON by hand ([`json`]). An [`envelope`] takes a template's place
//! where the shape of the value is given.
//!
//! Left out: sessions, sinks, sockets and time. A template sees one event and a scratch buffer, nothing else.

mod column;
mod envelope;
mod headers;
mod json;
mod lookup;
mod template;

pub use column::Columns;
pub use envelope::Envelope;
pub use headers::Headers;
pub use template::{Depends, Template, TemplateError};
