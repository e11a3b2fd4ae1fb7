"""Layouts of public data sets, one module for a domain; see docs/domains.md.

Each module but layout.py has

  LAYOUTS   name -> layout.Layout

A module that is put here is found by its name; nothing else lists it.
"""
