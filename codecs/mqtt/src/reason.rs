//! The reason codes of MQTT 5.0 (table 2-6) and their shadows in 3.1.1: one row per code.
//!
//! Success, Normal disconnection and Granted QoS 0 are one value on the wire and one variant here.

use crate::packet::{PacketType, Version};

/// Stands for "a client may put this into a DISCONNECT" among the places of a row (table 3-13, column "Sent by").
const CLIENT: u32 = 1 << 16;

macro_rules! place {
    (CLIENT) => {
        CLIENT
    };
    ($packet:ident) => {
        PacketType::$packet.bit()
    };
}

macro_rules! reason_codes {
    ($($value:literal $variant:ident $name:literal [$($place:ident)+])+) => {
        /// Why something was done, refused or ended. Values from 0x80 up mean failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(#[doc = concat!("`", stringify!($value), "` ", $name, ".")] $variant = $value,)+
        }

        impl ReasonCode {
            /// Every code in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code with this value on the wire, if MQTT 5.0 defines one.
            #[inline]
            pub const fn from_value(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The name that MQTT 5.0 gives it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            const fn places(self) -> u32 {
                match self {
                    $(Self::$variant => $(place!($place))|+,)+
                }
            }
        }
    };
}

reason_codes! {
    0x00 Success "Success" [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth CLIENT]
    0x01 GrantedQoS1 "Granted QoS 1" [SubAck]
    0x02 GrantedQoS2 "Granted QoS 2" [SubAck]
    0x04 DisconnectWithWillMessage "Disconnect with Will Message" [Disconnect CLIENT]
    0x10 NoMatchingSubscribers "No matching subscribers" [PubAck PubRec]
    0x11 NoSubscriptionExisted "No subscription existed" [UnsubAck]
    0x18 ContinueAuthentication "Continue authentication" [Auth]
    0x19 ReAuthenticate "Re-authenticate" [Auth]
    0x80 UnspecifiedError "Unspecified error" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect CLIENT]
    0x81 MalformedPacket "Malformed Packet" [ConnAck Disconnect CLIENT]
    0x82 ProtocolError "Protocol Error" [ConnAck Disconnect CLIENT]
    0x83 ImplementationSpecificError "Implementation specific error" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect CLIENT]
    0x84 UnsupportedProtocolVersion "Unsupported Protocol Version" [ConnAck]
    0x85 ClientIdentifierNotValid "Client Identifier not valid" [ConnAck]
    0x86 BadUserNameOrPassword "Bad User Name or Password" [ConnAck]
    0x87 NotAuthorized "Not authorized" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect]
    0x88 ServerUnavailable "Server unavailable" [ConnAck]
    0x89 ServerBusy "Server busy" [ConnAck Disconnect]
    0x8A Banned "Banned" [ConnAck]
    0x8B ServerShuttingDown "Server shutting down" [Disconnect]
    0x8C BadAuthenticationMethod "Bad authentication method" [ConnAck Disconnect]
    0x8D KeepAliveTimeout "Keep Alive timeout" [Disconnect]
    0x8E SessionTakenOver "Session taken over" [Disconnect]
    0x8F TopicFilterInvalid "Topic Filter invalid" [SubAck UnsubAck Disconnect]
    0x90 TopicNameInvalid "Topic Name invalid" [ConnAck PubAck PubRec Disconnect CLIENT]
    0x91 PacketIdentifierInUse "Packet Identifier in use" [PubAck PubRec SubAck UnsubAck]
    0x92 PacketIdentifierNotFound "Packet Identifier not found" [PubRel PubComp]
    0x93 ReceiveMaximumExceeded "Receive Maximum exceeded" [Disconnect CLIENT]
    0x94 TopicAliasInvalid "Topic Alias invalid" [Disconnect CLIENT]
    0x95 PacketTooLarge "Packet too large" [ConnAck Disconnect CLIENT]
    0x96 MessageRateTooHigh "Message rate too high" [Disconnect CLIENT]
    0x97 QuotaExceeded "Quota exceeded" [ConnAck PubAck PubRec SubAck Disconnect CLIENT]
    0x98 AdministrativeAction "Administrative action" [Disconnect CLIENT]
    0x99 PayloadFormatInvalid "Payload format invalid" [ConnAck PubAck PubRec Disconnect CLIENT]
    0x9A RetainNotSupported "Retain not supported" [ConnAck Disconnect]
    0x9B QoSNotSupported "QoS not supported" [ConnAck Disconnect]
    0x9C UseAnotherServer "Use another server" [ConnAck Disconnect]
    0x9D ServerMoved "Server moved" [ConnAck Disconnect]
    0x9E SharedSubscriptionsNotSupported "Shared Subscriptions not supported" [SubAck Disconnect]
    0x9F ConnectionRateExceeded "Connection rate exceeded" [ConnAck Disconnect]
    0xA0 MaximumConnectTime "Maximum connect time" [Disconnect]
    0xA1 SubscriptionIdentifiersNotSupported "Subscription Identifiers not supported" [SubAck Disconnect]
    0xA2 WildcardSubscriptionsNotSupported "Wildcard Subscriptions not supported" [SubAck Disconnect]
}

impl ReasonCode {
    /// The value on the wire.
    #[inline]
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// Whether the code means failure.
    #[inline]
    pub const fn is_failure(self) -> bool {
        self.value() >= 0x80
    }

    /// Whether MQTT 5.0 allows the code in packets of this type.
    #[inline]
    pub const fn allowed_in(self, packet: PacketType) -> bool {
        self.places() & packet.bit() != 0
    }

    /// Whether a client may give this reason in a DISCONNECT; the other reasons are the server's alone.
    pub const fn client_may_disconnect_with(self) -> bool {
        self.places() & CLIENT != 0
    }

    /// The CONNACK return code by which MQTT 3.1 and 3.1.1 say this, if they can.
    ///
    /// `None` means that the server closes the connection without a CONNACK (MQTT 3.1.1 section 3.2.2.3).
    pub const fn connack_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded
            | Self::QuotaExceeded
            | Self::UnspecifiedError
            | Self::ImplementationSpecificError => Some(3),
            Self::BadUserNameOrPassword | Self::BadAuthenticationMethod => Some(4),
            Self::NotAuthorized | Self::Banned => Some(5),
            _ => None,
        }
    }

    /// The reason that a CONNACK return code of MQTT 3.1 and 3.1.1 stands for; `None` from 6 up, which is reserved.
    pub const fn from_connack_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// The value in a SUBACK: older versions know one failure, 0x80.
    pub const fn suback_value(self, version: Version) -> u8 {
        if self.is_failure() && !version.is_v5() { 0x80 } else { self.value() }
    }
}

impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_one_row_and_comes_back() {
        let mut known = 0;
        for value in 0..=255 {
            if let Some(code) = ReasonCode::from_value(value) {
                assert_eq!(code.value(), value);
                known += 1;
            }
        }
        assert_eq!(known, ReasonCode::ALL.len());
        assert_eq!(known, 43, "table 2-6 has 43 values");
        assert!(ReasonCode::ALL.windows(2).all(|w| w[0].value() < w[1].value()));
    }

    #[test]
    fn return_codes_of_3_1_1_survive_the_translation() {
        for code in 0..6 {
            let reason = ReasonCode::from_connack_return_code(code).unwrap();
            assert_eq!(reason.connack_return_code(), Some(code));
            assert!(reason.allowed_in(PacketType::ConnAck));
        }
        assert_eq!(ReasonCode::from_connack_return_code(6), None);
        assert_eq!(ReasonCode::MalformedPacket.connack_return_code(), None);
    }

    #[test]
    fn places_follow_table_2_6() {
        use PacketType::*;
        let count = |packet| ReasonCode::ALL.iter().filter(|c| c.allowed_in(packet)).count();
        // Sections 3.2.2.2, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.9.3, 3.11.3, 3.14.2.1 (plus 0x8C by table 2-6), 3.15.2.1.
        assert_eq!(count(ConnAck), 22);
        assert_eq!((count(PubAck), count(PubRec)), (9, 9));
        assert_eq!((count(PubRel), count(PubComp)), (2, 2));
        assert_eq!(count(SubAck), 12);
        assert_eq!(count(UnsubAck), 7);
        assert_eq!(count(Disconnect), 30);
        assert_eq!(count(Auth), 3);
        assert_eq!(count(Publish), 0);
        assert_eq!(ReasonCode::ALL.iter().filter(|c| c.client_may_disconnect_with()).count(), 14);
    }
}
