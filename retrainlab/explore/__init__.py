"""What the notebooks for people show: pictures that follow sliders. Each explorer is one module with a `show()`, and most
have a `page()` for readers without a kernel.

    curves       the retraining schedules as curves; nothing is trained
    first_look   prune a small network, watch its accuracy collapse, retrain it live (recovery)
    race         prune a network and race the schedules (racing)
    predict      guess before the race
    draw         draw a schedule of one's own and race it (drawing)
    budget       which schedule for a budget, from stored results (recommending)
    allr         where ALLR starts, and why (anatomy)
    methods      two methods over time at one budget (pair)

    chart, chart.js   charts as plain descriptions, and the script that draws them
    parts             the small widgets that all are made of;  live: experiments run while somebody watches
    pages, page.js    an explorer as one HTML file

Modules in brackets hold an explorer's numbers, sentences and pictures; its widgets only pass these on.
"""
