//! The few fields of an X.509 certificate that are needed where rustls does not read it, as it does not read version 1.
//!
//! Reads DER of any length without a panic; takes what it finds and verifies nothing.

use tidemark_domain::time::Timestamp;

/// What is read of a certificate of any version.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The whole `SubjectPublicKeyInfo`.
    pub public_key: &'a [u8],
    /// The contents of its `AlgorithmIdentifier`, and the bits of the key.
    pub algorithm: &'a [u8],
    pub key_bits: &'a [u8],
    /// The last common name of the subject, where it is text.
    pub common_name: Option<&'a str>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

pub const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
pub const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, which holds the version where it is not 1.
const VERSION: u8 = 0xa0;
/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

impl<'a> Certificate<'a> {
    /// Reads a certificate; `None` where it is none.
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Fields(Fields(der).next_of(SEQUENCE)?.contents);
        let mut body = Fields(certificate.next_of(SEQUENCE)?.contents);
        if body.0.first() == Some(&VERSION) {
            body.next()?;
        }
        let _serial = body.next()?;
        let _signature = body.next_of(SEQUENCE)?;
        let _issuer = body.next_of(SEQUENCE)?;
        let mut validity = Fields(body.next_of(SEQUENCE)?.contents);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = body.next_of(SEQUENCE)?.contents;
        let public_key = body.next_of(SEQUENCE)?;
        let mut parts = Fields(public_key.contents);
        let algorithm = parts.next_of(SEQUENCE)?.contents;
        let bits = parts.next_of(BIT_STRING)?.contents;
        let (0, key_bits) = bits.split_first().map(|(unused, bits)| (*unused, bits))? else {
            return None;
        };
        let common_name = common_name(subject);
        Some(Self { public_key: public_key.whole, algorithm, key_bits, common_name, not_before, not_after })
    }

    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// The fields of a certificate that version 1 has, one after the other, and the algorithm of its signature.
pub fn body_of_version_1(der: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    const FIELDS: usize = 6;
    let mut certificate = Fields(Fields(der).next_of(SEQUENCE)?.contents);
    let mut body = Fields(certificate.next_of(SEQUENCE)?.contents);
    let algorithm = certificate.next_of(SEQUENCE)?.whole;
    if body.0.first() == Some(&VERSION) {
        body.next()?;
    }
    let mut kept = Vec::new();
    for _ in 0..FIELDS {
        kept.extend_from_slice(body.next()?.whole);
    }
    Some((kept, algorithm))
}

/// One field of DER.
pub fn wrapped(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut field = vec![tag];
    let bytes = contents.len().to_be_bytes();
    let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1)..];
    if contents.len() >= 0x80 {
        // As many bytes as a `usize` has at most.
        field.extend(u8::try_from(bytes.len()).map(|count| 0x80 | count));
    }
    field.extend_from_slice(bytes);
    field.extend_from_slice(contents);
    field
}

fn common_name(subject: &[u8]) -> Option<&str> {
    let mut names = Fields(subject);
    let mut found = None;
    while let Some(set) = names.next() {
        let mut attributes = Fields(if set.tag == SET { set.contents } else { &[] });
        while let Some(attribute) = attributes.next() {
            let mut pair = Fields(attribute.contents);
            let is_name = pair.next_of(OBJECT_IDENTIFIER).is_some_and(|id| id.contents == COMMON_NAME);
            let text = pair.next().and_then(|value| std::str::from_utf8(value.contents).ok());
            if is_name && text.is_some() {
                found = text;
            }
        }
    }
    found
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(field: Field<'_>) -> Option<Timestamp> {
    let text = std::str::from_utf8(field.contents).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (century, rest) = match (field.tag, text.len()) {
        // RFC 5280 4.1.2.5.1.
        (UTC_TIME, 12) => (if text >= "5" { "19" } else { "20" }, text),
        (GENERALIZED_TIME, 14) => text.split_at(2),
        _ => return None,
    };
    let part = |at: usize| &rest[at..at + 2];
    Timestamp::parse(&format!("{century}{}-{}-{}T{}:{}:{}Z", part(0), part(2), part(4), part(6), part(8), part(10)))
}

#[derive(Clone, Copy)]
struct Field<'a> {
    tag: u8,
    contents: &'a [u8],
    whole: &'a [u8],
}

/// The fields of a sequence, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<Field<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // At most four bytes of length; an indefinite length is not DER.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (contents, after) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some(Field { tag, contents, whole })
    }

    fn next_of(&mut self, tag: u8) -> Option<Field<'a>> {
        self.next().filter(|field| field.tag == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_tls::Throwaway;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-20T09:00:00Z").unwrap()
    }

    #[test]
    fn a_certificate_says_who_it_is_and_until_when() {
        let pem = Throwaway::cluster(now()).unwrap().certificate;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let read = Certificate::read(&der).unwrap();
        assert_eq!(read.common_name, Some("kong_clustering"));
        assert!(read.is_valid_at(now()) && read.is_valid_at(read.not_after));
        assert!(!read.is_valid_at(read.not_after.plus(1)) && !read.is_valid_at(read.not_before.plus(-1)));
    }

    #[test]
    fn times_have_two_forms() {
        let utc = |text: &'static str| time(Field { tag: UTC_TIME, contents: text.as_bytes(), whole: &[] });
        assert_eq!(utc("261120085352Z"), Timestamp::parse("2026-11-20T08:53:52Z"));
        assert_eq!(utc("991231235959Z"), Timestamp::parse("1999-12-31T23:59:59Z"));
        assert_eq!(utc("2611200853Z"), None);
        assert_eq!(utc("26112008535éZ"), None);
        let general = |text: &'static str| time(Field { tag: GENERALIZED_TIME, contents: text.as_bytes(), whole: &[] });
        assert_eq!(general("20510101000000Z"), Timestamp::parse("2051-01-01T00:00:00Z"));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            _ = Certificate::read(&bytes);
        }

        #[test]
        fn no_damage_is_too_strange(at in 0_usize..2_000, byte: u8) {
            let pem = Throwaway::cluster(now()).unwrap().certificate;
            let mut der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
            let at = at % der.len();
            der[at] = byte;
            _ = Certificate::read(&der);
            der.truncate(at);
            prop_assert!(Certificate::read(&der).is_none());
        }
    }
}
