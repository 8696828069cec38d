//! Compiles the migrations in: a list of name and text, in their order.

use std::{env, fs, path::Path};

fn main() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    println!("cargo:rerun-if-changed={}", directory.display());
    let mut list = String::from("&[");
    let mut files: Vec<_> = fs::read_dir(&directory)
        .expect("migrations/ is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    files.sort();
    for path in files {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        // What has no number is loaded in another way, such as demo.sql.
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            list += &format!("({name:?}, include_str!({:?})),", path.display().to_string());
        }
    }
    list += "]";
    let target = Path::new(&env::var_os("OUT_DIR").expect("cargo names it")).join("migrations.rs");
    fs::write(target, list).expect("the list can be written");
}
