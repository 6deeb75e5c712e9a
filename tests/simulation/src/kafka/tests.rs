//! The rules of the cluster one by one, and what holds whatever goes wrong.
//!
//! Requests are written and answers read with our codec, which has no line in common with the model's.

mod promise;
mod rig;
mod rules;
mod speed;
mod topics;
