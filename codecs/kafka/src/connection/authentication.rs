//! The part of a link's handshake that proves who we are, at the start and again before the session ends (KIP-368).
//!
//! ```text
//! begin → SaslHandshake ─ offered → SaslAuthenticate ⇄ … ─ done
//! ```
//!
//! A broker answers in order, so an authentication on a link with open requests just queues behind them; nothing may be
//! asked behind it before it is over, because the broker would take that for a part of it.

use super::{BrokerConnection, Event, LinkError, Open};
use crate::ErrorCode;
use crate::cluster::{NoCommonVersion, Versions};
use crate::message::{ApiKey, sasl_authenticate, sasl_handshake};
use crate::sasl::{Exchange, Fault, Question, Step};

/// One authentication under way.
#[derive(Debug)]
pub(super) struct Ongoing {
    exchange: Exchange,
    /// Agreed for SaslAuthenticate.
    version: i16,
    /// What the caller has not been asked yet.
    question: Option<Question>,
    /// The caller owes an answer.
    asked: bool,
}

impl BrokerConnection {
    /// Every connection from now on begins with this authentication; the exchange serves one connection.
    pub fn authenticate_with(&mut self, exchange: Exchange) {
        self.login = Some(exchange);
    }

    /// Proves again who we are, on a link that is ready. Until [`Event::Ready`] comes nothing else may begin; what is open
    /// is answered before.
    ///
    /// # Errors
    /// If the broker cannot authenticate.
    pub fn authenticate_again(&mut self, exchange: Exchange) -> Result<(), NoCommonVersion> {
        let Some(versions) = self.versions().cloned() else { return Ok(()) };
        self.begin_authentication(&versions, exchange)
    }

    /// Whether an authentication is under way, so that nothing else may begin.
    #[inline]
    pub fn is_authenticating(&self) -> bool {
        self.ongoing.is_some()
    }

    /// Whether the broker has accepted who we are.
    pub fn has_authenticated(&self) -> bool {
        self.authenticated
    }

    /// How long the session lasts since [`Event::Ready`], ms; `None` for ever.
    pub fn session_lifetime_ms(&self) -> Option<u64> {
        u64::try_from(self.session_lifetime_ms).ok().filter(|&ms| ms > 0)
    }

    /// What the caller has to find an answer to, of a mechanism whose answers come from outside.
    pub fn poll_question(&mut self) -> Option<Question> {
        self.ongoing.as_mut()?.question.take()
    }

    /// The caller's answer to the last question; then see [`BrokerConnection::poll_transmit`]. `last`: the broker's next
    /// word is its consent. An answer that nobody waits for is nothing.
    pub fn handle_answer(&mut self, bytes: &[u8], last: bool) {
        let Some(ongoing) = self.ongoing.as_mut().filter(|ongoing| ongoing.asked) else { return };
        ongoing.asked = false;
        if last {
            ongoing.exchange.end_outside();
        }
        self.send_authenticate(bytes);
    }

    /// Whether the caller owes an answer.
    pub fn awaits_answer(&self) -> bool {
        self.ongoing.as_ref().is_some_and(|ongoing| ongoing.asked)
    }

    /// What the last exchange has computed and the next need not.
    pub fn take_salted(&mut self) -> Option<crate::sasl::scram::Salted> {
        self.salted.take()
    }

    /// Asks for the mechanism.
    pub(super) fn begin_authentication(
        &mut self,
        versions: &Versions,
        exchange: Exchange,
    ) -> Result<(), NoCommonVersion> {
        let handshake = versions.of(ApiKey::SaslHandshake)?;
        let version = versions.of(ApiKey::SaslAuthenticate)?;
        let correlation_id = self.next_correlation();
        let mut out = Vec::new();
        let mechanism = exchange.mechanism().name();
        sasl_handshake::encode_request(handshake, correlation_id, &self.client_id, mechanism, &mut out);
        self.transmit = Some(out);
        self.open.push_back(Open { correlation_id, api: ApiKey::SaslHandshake, version: handshake });
        self.ongoing = Some(Ongoing { exchange, version, question: None, asked: false });
        Ok(())
    }

    pub(super) fn on_sasl_handshake(&mut self, body: &[u8]) -> Result<Event<'static>, LinkError> {
        let response = sasl_handshake::decode_response(body)?;
        let Some(ongoing) = &mut self.ongoing else { return Ok(Event::Handshake) };
        let mechanism = ongoing.exchange.mechanism();
        if response.error == ErrorCode::UNSUPPORTED_SASL_MECHANISM {
            return Err(Fault::NotEnabled { mechanism, enabled: response.mechanisms }.into());
        }
        if !response.error.is_ok() {
            return Err(Fault::refused(mechanism, response.error, "").into());
        }
        let step = ongoing.exchange.begin();
        self.take_step(step);
        Ok(Event::Handshake)
    }

    pub(super) fn on_sasl_authenticate(&mut self, version: i16, body: &[u8]) -> Result<Event<'static>, LinkError> {
        let response = sasl_authenticate::decode_response(version, body)?;
        let Some(ongoing) = &mut self.ongoing else { return Ok(Event::Handshake) };
        if !response.error.is_ok() {
            let words = response.words.unwrap_or_default();
            return Err(Fault::refused(ongoing.exchange.mechanism(), response.error, words).into());
        }
        match ongoing.exchange.answer(response.bytes)? {
            Step::Done => {
                self.session_lifetime_ms = response.session_lifetime_ms;
                self.authenticated = true;
                if let Some(Ongoing { exchange: Exchange::Scram(scram), .. }) = self.ongoing.take() {
                    self.salted = scram.salted().cloned();
                }
                self.become_ready();
                Ok(Event::Ready)
            }
            step => {
                self.take_step(step);
                Ok(Event::Handshake)
            }
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Send(bytes) => self.send_authenticate(&bytes),
            Step::Ask(question) => {
                if let Some(ongoing) = &mut self.ongoing {
                    ongoing.question = Some(question);
                    ongoing.asked = true;
                }
            }
            Step::Done => {}
        }
    }

    fn send_authenticate(&mut self, bytes: &[u8]) {
        let Some(version) = self.ongoing.as_ref().map(|ongoing| ongoing.version) else { return };
        let correlation_id = self.next_correlation();
        let mut out = Vec::new();
        sasl_authenticate::encode_request(version, correlation_id, &self.client_id, bytes, &mut out);
        self.transmit = Some(out);
        self.open.push_back(Open { correlation_id, api: ApiKey::SaslAuthenticate, version });
    }
}

impl From<Fault> for LinkError {
    fn from(fault: Fault) -> Self {
        Self::Authentication(fault)
    }
}

#[cfg(test)]
mod tests;
