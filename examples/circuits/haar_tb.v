// iverilog -o haar_tb haar.v haar_tb.v && ./haar_tb
// Every pair of samples must be given back by low and high.
module haar_tb;
    reg clk = 0, rst = 1, valid = 0;
    reg  [7:0] sample = 0, first = 0, second = 0;
    wire       ready;
    wire [7:0] low;
    wire signed [8:0] high;
    integer i, wrong = 0;

    haar dut (.clk(clk), .rst(rst), .valid(valid), .sample(sample), .ready(ready), .low(low), .high(high));
    always #1 clk = ~clk;

    wire signed [9:0] a = $signed({2'b00, low}) - (high >>> 1);
    wire signed [9:0] b = a + high;

    task put(input [7:0] value);
        begin
            @(negedge clk) valid = 1;
            sample = value;
        end
    endtask

    initial begin
        @(negedge clk) rst = 0;
        for (i = 0; i < 65536; i = i + 1) begin
            first = i[15:8];
            second = i[7:0];
            put(first);
            put(second);
            @(negedge clk) valid = 0;
            if (!ready || a !== {2'b00, first} || b !== {2'b00, second}) wrong = wrong + 1;
        end
        if (wrong == 0) $display("haar: all 65536 pairs are given back");
        else $display("haar: %0d pairs are WRONG", wrong);
        $finish;
    end
endmodule
