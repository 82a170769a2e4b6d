"""What a person looks at: tables, figures, videos, the HTML page. Reads what evaluation has written.

tables.py   tables in the terminal, in Markdown and on the page     results.py  the tables of docs/results.md
figures.py  matplotlib figures, in files and on the page            timeline.py answers over an episode's steps
page.py     the HTML page                                           video.py    an episode as a video
offline.py  tables of policies on recorded frames                   model_card.py    the card of a checkpoint
moments.py  the steps of an episode                                 viewer.py        moments in rerun
label_review.py  labels to check by eye
fonts.py    fonts for Chinese, Japanese and Korean letters          images.py   images within a page
attention.py    attention maps and their shares on objects: the data, its files, figures, drawing over an image
                (attention_files.py, attention_figures.py, attention_overlay.py)
"""
