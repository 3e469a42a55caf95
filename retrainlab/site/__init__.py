"""`make site`: a folder of pages for those who have only a browser, which open offline and from a file.

make        what is there, what is lacking, and the pages in order
explorers   the explorers' pages, and which of them stored results suffice for
figures     saved figures with their captions, findings and verdicts
documents   Markdown -> a page: claims, glossary, references, evidence
sessions    what `make teach` has written: sessions to read, the sheet of formulas
frame       one nav, one style, the words of the study: what every page has
templates   the pages' HTML and style; the switch between light and dark, and menus that close

Nothing is trained, and nothing computed that a figure's table or a stored result does not say.
"""
