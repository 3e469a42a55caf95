"""What a host and a group need: the notebooks of `teach/` for participants, checks of the exercises, a sheet of formulas.

sessions           `retrainlab teach`: the sessions without their solutions, and the sheet, into a folder
marking, tasks     what an exercise's answer is: open, right, or not yet; a check for each exercise
formulas           each formula of the study with its source and the line of code that computes it
sheet, mathml      the formulas on one page, as HTML and PDF; TeX -> MathML
"""
