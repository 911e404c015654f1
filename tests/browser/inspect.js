// Runs in the report, put there by report.sh: looks at what a reader would see, and tells the page that holds it.
addEventListener('load', function () {
  var wrong = seen, tables = 0, sorts = 0;
  function check(holds, what) { if (!holds) wrong.push(what); }
  var width = document.documentElement.clientWidth;
  check(document.documentElement.scrollWidth <= width, 'wider than ' + width + ' pixels: ' + document.documentElement.scrollWidth);
  var figures = document.querySelectorAll('figure'), plots = document.querySelectorAll('figure svg');
  check(figures.length === plots.length, plots.length + ' plots of ' + figures.length + ' figures');
  plots.forEach(function (svg) {
    var box = svg.getBoundingClientRect(), id = svg.closest('figure').id;
    check(box.width > 200 && box.height > 150, id + ' is ' + box.width + ' by ' + box.height);
    check(box.left >= 0 && box.right <= width + 1, id + ' reaches out of the page');
    check(svg.querySelectorAll('path').length > 3, id + ' has no curves');
    svg.querySelectorAll('text').forEach(function (text) {
      var t = text.getBoundingClientRect();
      if (text.textContent.trim() === '') return;
      check(t.height >= 9, id + ': "' + text.textContent + '" is ' + t.height + ' pixels high');
      check(t.left >= box.left - 1 && t.right <= box.right + 1 && t.top >= box.top - 1 && t.bottom <= box.bottom + 1,
        id + ': "' + text.textContent + '" reaches out of its plot');
    });
  });
  document.querySelectorAll('a[href^="#"]').forEach(function (a) {
    check(document.getElementById(a.getAttribute('href').slice(1)), 'no target for ' + a.getAttribute('href'));
  });
  check(document.querySelector('.verdict'), 'no verdict');
  document.querySelectorAll('table.sort').forEach(function (table) {
    var rows = table.tBodies[0].rows.length;
    tables++;
    Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
      ['ascending', 'descending'].forEach(function (order) {
        head.querySelector('button').click();
        check(head.getAttribute('aria-sort') === order, head.textContent + ' is not ' + order);
        var keys = Array.from(table.tBodies[0].rows).map(function (row) {
          var cell = row.cells[column];
          return head.classList.contains('n') ? parseFloat(cell.dataset.v) : cell.textContent;
        });
        var known = keys.filter(function (key) { return key === key; });
        check(keys.slice(known.length).every(function (key) { return key !== key; }), 'empty cells are not last: ' + head.textContent);
        for (var i = 1; i < known.length; i++) {
          var c = typeof known[i] === 'number' ? known[i] - known[i - 1] : known[i].localeCompare(known[i - 1]);
          if (order === 'ascending' ? c < 0 : c > 0) { wrong.push(head.textContent + ' does not sort ' + order); break; }
        }
        sorts++;
      });
    });
    check(table.tBodies[0].rows.length === rows, 'rows were lost');
  });
  parent.postMessage(JSON.stringify({width: width, plots: plots.length, tables: tables, sorts: sorts, wrong: wrong}), '*');
});
