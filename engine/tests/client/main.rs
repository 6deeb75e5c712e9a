//! `aqueduct pub` and `aqueduct sub`, run as programs against a server that follows a script.

mod peer;
mod publish;
mod subscribe;
mod trouble;
