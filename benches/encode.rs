//! Binary rows to JSON: what the server adds to a result set that Postgres has already sent.

#![expect(clippy::expect_used, reason = "a row that fails would be measured as a fast one")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use rowhouse::encode::{Column, Encoding, JsonRows};

criterion_group!(benches, json_rows);
criterion_main!(benches);

/// A page of a to-do list, seven columns a row. Throughput is in bytes of JSON; divide the time by the size for a row.
fn json_rows(criterion: &mut Criterion) {
    let columns: Arc<[Column]> = Arc::new([
        Column::new("id", Encoding::Int8),
        Column::new("title", Encoding::Text),
        Column::new("done", Encoding::Bool),
        Column::new("created_at", Encoding::TimestampTz),
        Column::new("due", Encoding::Date),
        Column::new("tags", Encoding::Json),
        Column::new("extra", Encoding::Jsonb),
    ]);
    let mut group = criterion.benchmark_group("encode/json_rows");
    for size in [1, 50, 1000] {
        let rows: Vec<[Option<Vec<u8>>; 7]> = (0..size).map(todo).collect();
        let length = encode(&columns, &rows, 0).len();
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &rows, |bencher, rows| {
            bencher.iter(|| encode(&columns, black_box(rows), length + 64));
        });
    }
    group.finish();
}

fn encode(columns: &Arc<[Column]>, rows: &[[Option<Vec<u8>>; 7]], capacity: usize) -> bytes::Bytes {
    let mut json = JsonRows::new(Arc::clone(columns), capacity);
    for row in rows {
        json.row(row.iter().map(Option::as_deref))
            .expect("the values match their columns");
    }
    json.finish()
}

/// Row `index` as Postgres sends it; about 200 bytes of JSON.
fn todo(index: i64) -> [Option<Vec<u8>>; 7] {
    let title = match index % 4 {
        0 => "Buy milk and bread".to_owned(),
        1 => format!("Call \"Zoë\" about the café, room {index}"),
        2 => format!("Water the plants on floor {index}"),
        _ => "Réserver l'hôtel\n(two nights)".to_owned(),
    };
    let created_at = (8_000 + index) * 86_400_000_000 + index * 1_234_567;
    let due = (index % 5 != 0).then(|| (8_010_i32 + index as i32).to_be_bytes().to_vec());
    [
        Some((1_000_000 + index).to_be_bytes().to_vec()),
        Some(title.into_bytes()),
        Some(vec![u8::from(index % 3 == 0)]),
        Some(created_at.to_be_bytes().to_vec()),
        due,
        Some(br#"["home","errand"]"#.to_vec()),
        Some(b"\x01{\"color\": \"green\", \"priority\": 2}".to_vec()),
    ]
}
