//! MQTT as the simulated clients speak it: the few packets they need, written apart from our codec.

/// A CONNECT.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connect<'a> {
    /// MQTT 5, else 3.1.1.
    pub(crate) v5: bool,
    /// Clean start (clean session).
    pub(crate) clean: bool,
    /// MQTT 5: how long the session outlives the connection, seconds.
    pub(crate) expiry_s: u32,
    /// Seconds.
    pub(crate) keepalive_s: u16,
    /// MQTT 5: how many deliveries of QoS 1 and 2 it takes at once.
    pub(crate) receive_maximum: u16,
    /// Client identifier.
    pub(crate) client_id: &'a str,
    /// What is published when the connection ends without a word.
    pub(crate) will: Option<Will<'a>>,
}

/// The will of a CONNECT.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Will<'a> {
    /// Quality of service.
    pub(crate) qos: u8,
    /// Topic.
    pub(crate) topic: &'a str,
    /// Payload.
    pub(crate) payload: &'a [u8],
    /// MQTT 5: how long it waits for the client to come back, seconds.
    pub(crate) delay_s: u32,
}

/// Writes a CONNECT.
pub(crate) fn put_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', if connect.v5 { 5 } else { 4 }];
    let will = connect.will.map_or(0, |will| 0x04 | will.qos << 3);
    body.push(u8::from(connect.clean) << 1 | will);
    body.extend(connect.keepalive_s.to_be_bytes());
    if connect.v5 {
        body.push(8);
        body.push(0x11);
        body.extend(connect.expiry_s.to_be_bytes());
        body.push(0x21);
        body.extend(connect.receive_maximum.to_be_bytes());
    }
    put_text(&mut body, connect.client_id);
    if let Some(will) = connect.will {
        if connect.v5 {
            body.extend([5, 0x18]);
            body.extend(will.delay_s.to_be_bytes());
        }
        put_text(&mut body, will.topic);
        body.extend((will.payload.len() as u16).to_be_bytes());
        body.extend(will.payload);
    }
    put_head(out, 0x10, body.len());
    out.extend(body);
}

/// Writes a PUBLISH; `payload` appends its `payload_len` bytes. `alias` is 0 for none; with an alias the topic may be empty.
#[allow(clippy::too_many_arguments)]
pub(crate) fn put_publish(
    out: &mut Vec<u8>,
    v5: bool,
    qos: u8,
    dup: bool,
    id: u16,
    (topic, alias): (&str, u16),
    payload_len: usize,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let properties = if !v5 {
        0
    } else if alias > 0 {
        4
    } else {
        1
    };
    let len = 2 + topic.len() + if qos > 0 { 2 } else { 0 } + properties + payload_len;
    put_head(out, 0x30 | qos << 1 | u8::from(dup) << 3, len);
    put_text(out, topic);
    if qos > 0 {
        out.extend(id.to_be_bytes());
    }
    if v5 {
        if alias > 0 {
            out.extend([3, 0x23]);
            out.extend(alias.to_be_bytes());
        } else {
            out.push(0);
        }
    }
    let before = out.len();
    payload(out);
    assert_eq!(out.len() - before, payload_len, "the payload is as long as was said");
}

/// Writes a SUBSCRIBE to one filter.
pub(crate) fn put_subscribe(out: &mut Vec<u8>, v5: bool, id: u16, filter: &str, qos: u8) {
    put_head(out, 0x82, 2 + usize::from(v5) + 2 + filter.len() + 1);
    out.extend(id.to_be_bytes());
    if v5 {
        out.push(0);
    }
    put_text(out, filter);
    out.push(qos);
}

/// Writes a packet that is an identifier and nothing else.
pub(crate) fn put_id(out: &mut Vec<u8>, first: u8, id: u16) {
    out.extend([first, 2]);
    out.extend(id.to_be_bytes());
}

/// Writes an UNSUBSCRIBE from one filter.
pub(crate) fn put_unsubscribe(out: &mut Vec<u8>, v5: bool, id: u16, filter: &str) {
    put_head(out, 0xa2, 2 + usize::from(v5) + 2 + filter.len());
    out.extend(id.to_be_bytes());
    if v5 {
        out.push(0);
    }
    put_text(out, filter);
}

/// How many kinds of rubbish there are.
pub(crate) const RUBBISH: u8 = 6;

/// Writes something that no client may send.
pub(crate) fn put_rubbish(out: &mut Vec<u8>, v5: bool, kind: u8) {
    let bytes: &[u8] = match kind {
        // A second CONNECT.
        0 => &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0],
        // A packet only servers send.
        1 => &[0x20, 2, 0, 0],
        // A length of five bytes.
        2 => &[0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
        // QoS 3.
        3 => &[0x36, 5, 0, 1, b'a', 0, 1],
        // A wildcard in a topic name.
        4 if v5 => &[0x30, 4, 0, 1, b'#', 0],
        4 => &[0x30, 3, 0, 1, b'#'],
        // Flags that PINGREQ does not have.
        _ => &[0xc1, 0],
    };
    out.extend(bytes);
}

fn put_head(out: &mut Vec<u8>, first: u8, mut len: usize) {
    out.push(first);
    loop {
        let byte = (len % 128) as u8;
        len /= 128;
        out.push(if len > 0 { byte | 0x80 } else { byte });
        if len == 0 {
            return;
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

/// The next packet: first byte, body, and its whole length. `None` if it is not all there.
///
/// # Panics
/// If the length field is none.
pub(crate) fn next_packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let first = *bytes.first()?;
    let (mut len, mut at) = (0usize, 1);
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte < 0x80 {
            break;
        }
        assert!(at <= 4, "a length field of more than four bytes: {:02x?}", &bytes[..5]);
    }
    let body = bytes.get(at..at + len)?;
    Some((first, body, at + len))
}

/// What a server's PUBLISH says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery<'a> {
    /// Quality of service.
    pub(crate) qos: u8,
    /// Sent before.
    pub(crate) dup: bool,
    /// Packet identifier, 0 at QoS 0.
    pub(crate) id: u16,
    /// Topic.
    pub(crate) topic: &'a str,
    /// Payload.
    pub(crate) payload: &'a [u8],
}

/// Reads a PUBLISH; `None` if it is broken.
pub(crate) fn read_publish(v5: bool, first: u8, body: &[u8]) -> Option<Delivery<'_>> {
    let qos = first >> 1 & 3;
    let (len, rest) = body.split_at_checked(2)?;
    let (topic, mut rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(len.try_into().ok()?)))?;
    let mut id = 0;
    if qos > 0 {
        let (bytes, after) = rest.split_at_checked(2)?;
        id = u16::from_be_bytes(bytes.try_into().ok()?);
        rest = after;
    }
    if v5 {
        // No property of ours makes the block longer than one byte can say.
        let len = usize::from(*rest.first()?);
        rest = rest.get(1 + len..)?;
    }
    let topic = std::str::from_utf8(topic).ok()?;
    Some(Delivery { qos, dup: first & 8 != 0, id, topic, payload: rest })
}
