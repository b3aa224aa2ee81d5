//! Why: the reason codes of MQTT 5 (2.4), which serve inside for 3.1.1 too.

/// A reason code. Each packet allows its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Success, normal disconnection, or granted QoS 0.
    Success = 0x00,
    /// Granted QoS 1.
    GrantedQos1 = 0x01,
    /// Granted QoS 2.
    GrantedQos2 = 0x02,
    /// The client leaves and wants its will published all the same.
    DisconnectWithWill = 0x04,
    /// Taken, but nobody is subscribed.
    NoMatchingSubscribers = 0x10,
    /// There was nothing to unsubscribe.
    NoSubscriptionExisted = 0x11,
    /// The authentication goes on.
    ContinueAuthentication = 0x18,
    /// The client authenticates anew.
    Reauthenticate = 0x19,
    /// No reason is given.
    Unspecified = 0x80,
    /// The packet cannot be parsed.
    MalformedPacket = 0x81,
    /// The packet is out of order or contains what is not allowed.
    ProtocolError = 0x82,
    /// Well-formed, but not what this server does.
    ImplementationSpecific = 0x83,
    /// The version of MQTT is not spoken here.
    UnsupportedProtocolVersion = 0x84,
    /// The client identifier is not allowed.
    ClientIdNotValid = 0x85,
    /// User name or password is wrong.
    BadUserNameOrPassword = 0x86,
    /// The client may not do this.
    NotAuthorized = 0x87,
    /// The server is not available.
    ServerUnavailable = 0x88,
    /// The server is busy.
    ServerBusy = 0x89,
    /// The client is banned.
    Banned = 0x8A,
    /// The server goes down.
    ServerShuttingDown = 0x8B,
    /// The authentication method is not supported.
    BadAuthenticationMethod = 0x8C,
    /// Nothing came for one and a half times the keep-alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection has taken the client identifier.
    SessionTakenOver = 0x8E,
    /// The topic filter is not accepted.
    TopicFilterInvalid = 0x8F,
    /// The topic name is not accepted.
    TopicNameInvalid = 0x90,
    /// The packet identifier is in use.
    PacketIdInUse = 0x91,
    /// The packet identifier is not known.
    PacketIdNotFound = 0x92,
    /// More publishes under way than the receiver allows.
    ReceiveMaximumExceeded = 0x93,
    /// The topic alias is 0 or above the receiver's maximum.
    TopicAliasInvalid = 0x94,
    /// The packet is larger than the receiver allows.
    PacketTooLarge = 0x95,
    /// Messages come too fast.
    MessageRateTooHigh = 0x96,
    /// A limit of the server or its operator is reached.
    QuotaExceeded = 0x97,
    /// An operator has ended it.
    AdministrativeAction = 0x98,
    /// The payload is not of the format that it claims.
    PayloadFormatInvalid = 0x99,
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A,
    /// The quality of service is above the maximum.
    QosNotSupported = 0x9B,
    /// Another server, for now.
    UseAnotherServer = 0x9C,
    /// Another server, for good.
    ServerMoved = 0x9D,
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E,
    /// Connections come too fast.
    ConnectionRateExceeded = 0x9F,
    /// The longest time of a connection is over.
    MaximumConnectTime = 0xA0,
    /// Subscription identifiers are not supported.
    SubscriptionIdsNotSupported = 0xA1,
    /// Wildcards in subscriptions are not supported.
    WildcardsNotSupported = 0xA2,
}

impl Reason {
    /// Whether it says that something did not succeed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self as u8 >= 0x80
    }

    /// Itself in a packet that allows it; else a failure without a reason.
    pub(super) fn among(self, allowed: &[Self]) -> Self {
        if allowed.contains(&self) { self } else { Self::Unspecified }
    }

    /// The reason code with this value, if it is one of `allowed`.
    pub(super) fn decode(byte: u8, allowed: &[Self]) -> Option<Self> {
        allowed.iter().copied().find(|reason| *reason as u8 == byte)
    }
}

/// The checked reason codes of a SUBACK or UNSUBACK, as they are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons<'a> {
    bytes: &'a [u8],
    allowed: &'static [Reason],
}

impl<'a> Reasons<'a> {
    /// None: an UNSUBACK of 3.1.1.
    pub const NONE: Self = Self { bytes: &[], allowed: &[] };

    /// `None` if there is none, or one of them is not allowed.
    pub(super) fn some(bytes: &'a [u8], allowed: &'static [Reason]) -> Option<Self> {
        let valid = bytes.iter().all(|&byte| Reason::decode(byte, allowed).is_some());
        (valid && !bytes.is_empty()).then_some(Self { bytes, allowed })
    }

    /// As they are encoded.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// In order.
    pub fn iter(self) -> impl Iterator<Item = Reason> + 'a {
        self.bytes.iter().filter_map(move |&byte| Reason::decode(byte, self.allowed))
    }
}
