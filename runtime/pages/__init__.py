"""Look of every HTML page: style sheet, layout, charts."""
