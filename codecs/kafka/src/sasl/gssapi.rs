//! GSSAPI (RFC 4752): the part that is not Kerberos, which is what to encrypt once both sides know each other.
//!
//! ```text
//! offer of the broker, unwrapped:  layers u8 | longest message u24
//! our choice, to be wrapped:       layer u8  | longest message u24 | authorization id
//! ```
//!
//! Kafka's protocol has no place for wrapped messages, so the choice is always none, as Java's and librdkafka's clients choose; TLS
//! encrypts. The authorization id stays empty: we are who our ticket says.
//!
//! Left out: tickets, tokens and wrapping, which the caller's Kerberos library does ([`super::Exchange::outside`]).

/// The bit of the layer that is none.
const NO_LAYER: u8 = 1;

/// What to choose from what the broker offers, both as they stand inside their wrapping.
///
/// # Errors
/// What is wrong with the offer.
pub fn choose_layer(offer: &[u8]) -> Result<[u8; 4], &'static str> {
    match offer {
        [layers, _, _, _] if layers & NO_LAYER != 0 => Ok([NO_LAYER, 0, 0, 0]),
        [_, _, _, _] => Err("the broker insists on wrapping every message, which Kafka's protocol has no place for; \
                             allow auth in sasl.qop of the broker, and use TLS"),
        _ => Err("the broker's offer of security layers is not four bytes long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wrapped() {
        // Java's broker: no layer, and no messages because of that.
        assert_eq!(choose_layer(&[1, 0, 0, 0]), Ok([1, 0, 0, 0]));
        // All three.
        assert_eq!(choose_layer(&[7, 1, 0, 0]), Ok([1, 0, 0, 0]));
    }

    #[test]
    fn a_broker_that_wraps_is_not_spoken_to() {
        for layers in [0, 2, 4, 6, 0xfe] {
            assert!(choose_layer(&[layers, 0, 255, 255]).is_err_and(|why| why.contains("sasl.qop")), "{layers}");
        }
        for offer in [&b""[..], b"\x01", b"\x01\0\0", b"\x01\0\0\0\0"] {
            assert!(choose_layer(offer).is_err_and(|why| why.contains("four bytes")), "{offer:?}");
        }
    }
}
