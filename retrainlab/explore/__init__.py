"""What the notebooks for people show: pictures that follow sliders. An explorer has one stem in each room:

start        prune a small network, watch its accuracy collapse, retrain it live
race         prune a network and race the schedules
predict      guess before the race
draw         draw a schedule of one's own and race it
budget       which schedule for a budget, from stored results
allr         where ALLR starts, and why
compare      two methods over time at one budget
own          a network of the reader's own, from a reference to sparse weights
schedules    the retraining schedules as curves; nothing is trained

views/STEM   its Settings, a View of numbers, sentences and pictures, and a Page for readers without a kernel, which own
             has not; some have another in `stored`, of what is stored of a data set that takes long
apps/STEM    its widgets, an `App`, which only say Settings and show a View; `show()` displays it
kit          what they are made of: `app` and its kinds `arriving`, `looking` and `racing`, `controls`, the `worker`; `live`
             experiments, stored `cells` and the `costs` of what is not stored, a network's `collapse`, the `board` and
             `points` of drawn curves; `chart`, `writing`, `pages`
web          what the browser gets: scripts, styles, and the frame of a page; guess.js and drawing.js are two pages' own
"""
