"""The page to listen in and its REST API: what `soundsearch serve` runs, and no other command."""
