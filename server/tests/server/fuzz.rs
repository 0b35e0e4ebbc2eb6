//! Every reader of bytes, with recorded sessions of Kong as they are and damaged in many ways. A fuzzer goes further
//! (`make fuzz`); what it begins from is written by the first test here where `TIDEMARK_CORPUS` names a folder.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use tidemark_server::fuzz::TARGETS;

use crate::recorded::captures;

/// Damaged forms of each sample.
const DAMAGED: usize = 12;
/// Longer samples are cut: a damaged byte in 600 KB of gzip says what one in 30 KB does.
const SAMPLE_MAX: usize = 32 * 1024;

/// Samples by hand, for a clone without recordings.
const OURS: [&str; 7] = [
    r#"{"type":"basic_info","plugins":[{"name":"jq","version":"1"}],"labels":{"a":"b"}}"#,
    r#"{"type":"reconfigure","config_table":{"services":[{"id":"1","port":80}]},"config_hash":"x"}"#,
    r#"{"id":1,"method":"kong.sync.v2.get_delta","params":[{"default":{"version":"v02_0000000000000000000000000042"}}]}"#,
    "# TYPE kong_x counter\nkong_x{a=\"b\"} 1\n",
    r#"[{"control_plane":"eu","node_id":"n","hash":"6de1944179b6c16febb0a724310a4d49","labels":{"a":"b"}}]"#,
    r#"{"items":[{"id":"n","type":"kong-proxy","last_ping":1,"config_hash":"6de1944179b6c16febb0a724310a4d49"}],"page":{"next":"a"},"expected_hash":"6de1944179b6c16febb0a724310a4d49","data":[{"id":"1","name":"eu"}]}"#,
    "GET /v1/outlet?node_id=n&node_hostname=h&node_version=3.9.3 HTTP/1.1\r\n\r\n",
];

fn samples() -> Vec<Vec<u8>> {
    let mut samples: Vec<Vec<u8>> = OURS.iter().map(|text| text.as_bytes().to_vec()).collect();
    let Some(captures) = captures() else { return samples };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(captures).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files.extend(std::fs::read_dir(entry).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    files.sort();
    for file in files {
        samples.extend(of_file(&file));
    }
    samples.sort();
    samples.dedup();
    samples
}

/// A file as a whole if it is no list of records, else each record, and the bytes in it.
fn of_file(file: &Path) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(file).unwrap();
    if file.extension().is_none_or(|extension| extension != "jsonl") {
        return vec![text.into_bytes()];
    }
    let mut samples = Vec::new();
    // Heartbeats repeat.
    for line in text.lines().step_by(3) {
        let record: Value = serde_json::from_str(line).unwrap();
        for key in ["payload_base64", "raw_base64"] {
            let bytes = record[key].as_str().map(|text| BASE64_STANDARD.decode(text).unwrap());
            samples.extend(bytes.as_deref().and_then(inflated));
            samples.extend(bytes);
        }
        samples.push(line.as_bytes().to_vec());
    }
    samples
}

/// The JSON in a frame of v1, which no reader finds in damaged gzip.
fn inflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let decoder = flate2::read::GzDecoder::new(bytes.starts_with(&[0x1f, 0x8b]).then_some(bytes)?);
    decoder.take(SAMPLE_MAX as u64).read_to_end(&mut text).ok()?;
    Some(text)
}

fn damage(sample: &[u8], random: &mut Pcg32) -> Vec<u8> {
    let mut bytes = sample[..sample.len().min(SAMPLE_MAX)].to_vec();
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..5_u8) {
            0 => bytes[at] ^= 1 << random.random_range(0..8_u8),
            1 => bytes[at] = [0, 0xff, b'"', b'{', b'[', b'-', b'9', b'\\'][random.random_range(0..8)],
            2 => bytes.truncate(at),
            3 => _ = bytes.remove(at),
            _ => {
                let part = bytes[at..bytes.len().min(at + 16)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

#[test]
fn no_bytes_of_a_recording_are_too_strange_for_any_reader() {
    let samples = samples();
    if let Ok(folder) = std::env::var("TIDEMARK_CORPUS") {
        std::fs::create_dir_all(&folder).unwrap();
        for (number, sample) in samples.iter().enumerate() {
            std::fs::write(Path::new(&folder).join(format!("{number:06}")), sample).unwrap();
        }
    }
    let mut random = Pcg32::seed_from_u64(7);
    let mut given = 0;
    for sample in &samples {
        let damaged: Vec<Vec<u8>> = (0..DAMAGED).map(|_| damage(sample, &mut random)).collect();
        for bytes in damaged.iter().map(Vec::as_slice).chain([&sample[..sample.len().min(SAMPLE_MAX)]]) {
            for (_, target) in TARGETS {
                target(bytes);
                given += 1;
            }
        }
    }
    println!("{} samples, {given} times read", samples.len());
}

#[test]
fn what_inflates_a_thousandfold_is_refused_by_what_it_takes() {
    let bomb = {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::repeat(b' ').take(200 << 20), &mut packed).unwrap();
        packed.finish().unwrap()
    };
    assert!(bomb.len() * 900 < 200 << 20, "{} bytes", bomb.len());
    let error = tidemark_server::kong::v1::from_control_plane(&bomb, 1 << 20).unwrap_err();
    assert!(error.contains("inflates to more than"), "{error}");
    // A block that claims two gibibytes.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
    let error = tidemark_server::kong::v2::decode(&claim, tidemark_server::kong::v2::Encoding::Snappy, 1 << 20);
    assert!(error.is_err());
}
