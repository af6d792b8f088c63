"""The page of a run's report, a template. What it is given is escaped, but for the curves."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
body { color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .15rem 1.5rem .15rem 0; }
th { font-weight: normal; color: #666; white-space: nowrap; }
td { overflow-wrap: anywhere; white-space: pre-wrap; }
svg { max-width: 100%; height: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: .6rem; }
pre span { color: #777; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% macro rows(values) %}
<table>
{% for name, value in values.items() %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table>
{% endmacro %}
{{ rows(summary) }}
<h2>Curves over the optimizer steps</h2>
{{ curves | safe }}
{% if samples %}<h2>Samples</h2>
{% for sample in samples %}<p>step {{ sample.step }}</p>
<pre><span>{{ sample.prompt }}</span>{{ sample.text }}</pre>
{% endfor %}{% endif %}
{% for name, values in sections.items() %}<h2>{{ name }}</h2>
{{ rows(values) }}
{% endfor %}
</body>
</html>
"""
