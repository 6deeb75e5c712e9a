//! MQTT 3.1.1 packets put together by hand.

/// A CONNECT with clean session and a keep-alive of 60 s.
pub fn connect(client_id: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0x02, 0, 60];
    body.extend((client_id.len() as u16).to_be_bytes());
    body.extend(client_id.as_bytes());
    packet(0x10, &body)
}

/// A PUBLISH with a payload of `payload_bytes`.
pub fn publish(qos: u8, packet_id: u16, topic: &str, payload_bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((topic.len() as u16).to_be_bytes());
    body.extend(topic.as_bytes());
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.extend(std::iter::repeat_n(b'x', payload_bytes));
    packet(0x30 | qos << 1, &body)
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut len = body.len();
    loop {
        let low = (len % 128) as u8;
        len /= 128;
        out.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            break;
        }
    }
    out.extend(body);
    out
}
