"""How fast ple_study is, beside its peers: the same numbers first, then the clock."""
