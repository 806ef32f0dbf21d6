"""The report: a folder of pages that opens from disk, made from an atlas alone.

``index.html`` shows the network, ``layers/NAME/index.html`` every unit of a layer as a strip of its best patches, and
``layers/NAME/unit.html#37`` one unit. Pages ask for nothing over the network: links are relative, scripts are classic,
data are scripts too, and the code that draws charts is copied from the installed Plotly.
"""

from convscope.report.writer import check_folder, write_report

__all__ = ["check_folder", "write_report"]
