use super::*;

#[test]
fn a_path_of_any_length_has_an_address() {
    let dir = tempfile::tempdir().unwrap();
    for length in [1, 60, 200] {
        let deep = dir.path().join("d".repeat(length));
        fs::create_dir(&deep).unwrap();
        let (address, held) = address(&deep, NAME).unwrap();
        let path = address.as_pathname().unwrap();
        fs::write(path, length.to_string()).unwrap();
        assert_eq!(fs::read_to_string(deep.join(NAME)).unwrap(), length.to_string());
        assert_eq!(held.is_some(), length == 200);
    }
}
